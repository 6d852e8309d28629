"""The laws of the library as functions: they run on layers and strategies of anybody's."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .._layer import Layer
from .._unroll import cast, unroll
from ..strategies import Checkpointed, Scan, Strategy
from ._case import (
    Case,
    awkward_lengths,
    awkward_mask,
    awkward_resets,
    cotangents,
    is_float,
    make_case,
    value_and_grads,
)
from ._compare import LawBroken, assert_close
from ._reference import reference


TOLERANCE = 1e-9  # in float64, relative to the largest entry
BFLOAT16 = 0.05  # about a dozen roundings of 2**-8


def check_cell(layer: Layer, x: Any = None, *, seed: int = 0) -> None:
    """Every law of the library, on one layer; made for cells of your own.

    Runs in float64, where anything that is not a mistake agrees to 1e-9, except for the
    law of dtypes. Takes some ten seconds.

    Args:
        layer: a cell, or any layer.
        x: an example of one step's input; needed if the layer has no `input_size`.
        seed: of parameters and inputs.

    Raises:
        LawBroken: with the law, the place, and by how much.

    Example:
        >>> import jaxrnn
        >>> jaxrnn.testing.check_cell(jaxrnn.Elman(3, 4))
    """
    check_protocol(layer, seed=seed)
    for options in OPTIONS:
        check_unroll(layer, options, x=x, seed=seed)
    check_padding(layer, x=x, seed=seed)
    check_chunks(layer, x=x, seed=seed)
    for strategy in (Checkpointed(), Checkpointed(3, Checkpointed(2))):
        check_strategy(strategy, layer, x=x, seed=seed)
    check_transformations(layer, x=x, seed=seed)
    check_dtypes(layer, x=x, seed=seed)
    check_retracing(layer, x=x, seed=seed)


OPTIONS: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({"lengths", "resets"}),
    frozenset({"lengths", "mask", "resets", "reverse"}),
)
"""Combinations of the options of `unroll` that `check_cell` tries."""


def make_options(case: Case, names: Any) -> dict[str, Any]:
    """The arguments of `unroll` for names among lengths, mask, resets and reverse."""
    values = {
        "lengths": awkward_lengths(case),
        "mask": awkward_mask(case),
        "resets": awkward_resets(case),
        "reverse": True,
    }
    return {name: values[name] for name in sorted(names)}


def check_protocol(layer: Layer, *, seed: int = 0) -> None:
    """Hashable, equal when rebuilt, `init` pure, no array of the parameters given out twice."""
    law, case = "protocol", str(layer)
    if _rebuilt(layer) != layer or hash(_rebuilt(layer)) != hash(layer):
        raise LawBroken(
            f"{law}: {case} does not equal one that is built from the same fields, so "
            "jax.jit traces it anew each time. Declare it with @dataclass(frozen=True)."
        )
    params = layer.init(jax.random.key(seed))
    again = layer.init(jax.random.key(seed))
    assert_close(law, f"{case}: init with the same key twice", again, params, 0.0)
    arrays = jax.tree.leaves(params)
    if len({id(a) for a in arrays}) < len(arrays):
        raise LawBroken(
            f"{law}: {case}.init gives out one array in two places, and parameters are "
            "donated to an update of them. Make an array for each."
        )


def check_unroll(layer: Layer, options: Any = (), **how: Any) -> None:
    """`unroll` equals `step` applied in turn, row by row, in value and every gradient.

    Args:
        layer: any layer.
        options: names among "lengths", "mask", "resets" and "reverse".
        **how: `x` and `seed` as for `check_cell`; `time` and `batch`; `strategy`.
    """
    strategy = how.pop("strategy", Scan())
    with jax.enable_x64(True):
        case = _case(layer, how)
        given = make_options(case, options)

        def fast(layer, params, xs, state):
            return unroll(layer, params, xs, state, strategy=strategy, **given)

        def slow(layer, params, xs, state):
            return reference(layer, params, xs, state, **given)

        assert_close(
            "unroll",
            f"{_label(case, strategy)} with {sorted(options) or 'no options'}",
            value_and_grads(fast, case),
            value_and_grads(slow, case, compiled=False),
            TOLERANCE,
        )


def check_padding(layer: Layer, **how: Any) -> None:
    """What stands in the padding, NaN included, changes neither values nor gradients."""
    strategy = how.pop("strategy", Scan())
    with jax.enable_x64(True):
        case = _case(layer, how)
        lengths = awkward_lengths(case)
        padding = jnp.arange(case.time)[:, None] >= jnp.asarray(lengths)[None, :]

        def spoiled(x):
            bad = jnp.asarray(jnp.nan if is_float(x) else 10**6, x.dtype)
            return jnp.where(
                padding.reshape(*padding.shape, *[1] * (x.ndim - 2)), bad, x
            )

        def run(layer, params, xs, state):
            return unroll(layer, params, xs, state, lengths=lengths, strategy=strategy)

        assert_close(
            "padding",
            f"{_label(case, strategy)} with NaN past lengths {lengths.tolist()}",
            value_and_grads(run, case, jax.tree.map(spoiled, case.xs)),
            value_and_grads(run, case),
            TOLERANCE,
        )


def check_chunks(layer: Layer, **how: Any) -> None:
    """The sequence in chunks, the state carried on, equals the sequence in one call."""
    strategy = how.pop("strategy", Scan())
    with jax.enable_x64(True):
        case = _case(layer, how)
        try:
            one = jax.tree.map(lambda s: s[0], (case.state, case.xs))
            x = jax.tree.map(lambda x: x[0], one[1])
            jax.eval_shape(layer.step, case.params, one[0], x)
        except NotImplementedError:
            return  # a layer that needs the whole sequence, and says so
        resets = awkward_resets(case)
        cut = case.time // 3
        whole = unroll(
            layer, case.params, case.xs, case.state, resets=resets, strategy=strategy
        )
        state, chunks = case.state, []
        for part in (slice(0, cut), slice(cut, None)):
            if len(range(case.time)[part]) == 0:
                continue
            xs = jax.tree.map(lambda x, part=part: x[part], case.xs)
            state, ys = unroll(
                layer, case.params, xs, state, resets=resets[part], strategy=strategy
            )
            chunks.append(ys)
        ys = jax.tree.map(lambda *parts: jnp.concatenate(parts), *chunks)
        label = f"{_label(case, strategy)} cut at {cut}"
        assert_close("chunks", label, (state, ys), whole, TOLERANCE)


def check_strategy(
    strategy: Strategy, layer: Layer, options: Any = ("lengths", "resets"), **how: Any
) -> None:
    """Law S: value and every gradient under a strategy equal those of `Scan()`.

    Args:
        strategy: any strategy that accepts the layer.
        layer: any layer.
        options: names among "lengths", "mask", "resets" and "reverse".
        **how: `x` and `seed` as for `check_cell`; `time` and `batch`.

    Raises:
        LawBroken: with the place, and by how much.
        NotImplementedError: from a strategy that does not accept the layer.

    Example:
        >>> import jaxrnn
        >>> jaxrnn.testing.check_strategy(jaxrnn.Checkpointed(3), jaxrnn.MGU(3, 4))
    """
    with jax.enable_x64(True):
        case = _case(layer, how)
        given = make_options(case, options)

        def run(strategy, layer, params, xs, state):
            return unroll(layer, params, xs, state, strategy=strategy, **given)

        assert_close(
            "Law S",
            f"{_label(case, strategy)} with {sorted(options) or 'no options'}",
            value_and_grads(partial(run, strategy), case),
            value_and_grads(partial(run, Scan()), case),
            TOLERANCE,
        )


def check_transformations(layer: Layer, **how: Any) -> None:
    """`vmap` of the whole unroll, `jvp`, and Hessian-vector products both ways round."""
    strategy = how.pop("strategy", Scan())
    with jax.enable_x64(True):
        case = _case(layer, how)
        label = _label(case, strategy)

        def run(params):
            return unroll(layer, params, case.xs, case.state, strategy=strategy)

        def scalar(params):
            weights = cotangents(case.key, jax.eval_shape(run, params))
            squares = jax.tree.map(
                lambda w, o: jnp.sum(w * o * o).real, weights, run(params)
            )
            return sum(jax.tree.leaves(squares))

        many = jax.tree.map(lambda p: jnp.stack([p, 0.5 * p]), case.params)
        if jax.tree.leaves(many):
            apart = [run(jax.tree.map(lambda p, i=i: p[i], many)) for i in range(2)]
            apart = jax.tree.map(lambda *rows: jnp.stack(rows), *apart)
            assert_close("vmap", label, jax.jit(jax.vmap(run))(many), apart, TOLERANCE)
            _check_derivatives(label, scalar, case)


def _check_derivatives(label: str, scalar: Any, case: Case) -> None:
    direction = cotangents(jax.random.fold_in(case.key, 1), case.params)

    def along(tree):
        products = jax.tree.map(lambda g, d: jnp.sum(g * d), tree, direction)
        return sum(jax.tree.leaves(products))

    @jax.jit
    def derivatives(params):
        grad = jax.grad(scalar)
        _, forward = jax.jvp(scalar, (params,), (direction,))
        _, forward_over_reverse = jax.jvp(grad, (params,), (direction,))
        reverse_over_reverse = jax.grad(lambda p: along(grad(p)))(params)
        return forward, along(grad(params)), forward_over_reverse, reverse_over_reverse

    forward, reverse, hvp, hvp_reverse = derivatives(case.params)
    assert_close("jvp", label, forward, reverse, TOLERANCE)
    assert_close("Hessian-vector product", label, hvp, hvp_reverse, TOLERANCE)


def check_dtypes(layer: Layer, **how: Any) -> None:
    """bfloat16 in, bfloat16 out, near float32; float32 and float64 kept as well.

    A state has the dtype that `layer.initial_state` gives it, which may be wider.
    """
    strategy = how.pop("strategy", Scan())
    case = _case(layer, how)

    def run(dtype):
        params, xs = cast(case.params, dtype), cast(case.xs, dtype)
        if not any(map(is_float, jax.tree.leaves((params, xs)))):
            return None
        state = _like(case.state, jax.eval_shape(layer.initial_state, params))
        return unroll(layer, params, xs, state, strategy=strategy)

    def wanted(dtype):
        if want is None:
            return None
        state = jax.eval_shape(layer.initial_state, cast(case.params, dtype))
        return _like(want[0], state), cast(want[1], dtype)

    want = run(jnp.float32)
    label = _label(case, strategy)
    low = jnp.bfloat16
    assert_close("dtypes", label, run(low), wanted(low), BFLOAT16)
    with jax.enable_x64(True):
        double = jnp.float64
        assert_close("dtypes", label, run(double), wanted(double), 1e-4)


def _like(tree: Any, dtypes: Any) -> Any:
    """The tree in the dtypes of another."""
    return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), tree, dtypes)


def check_retracing(layer: Layer, **how: Any) -> None:
    """One trace serves a second call, and an equal layer that was built anew."""
    case = _case(layer, how)
    traces = 0

    @jax.jit
    def run(layer, params, xs):
        nonlocal traces
        traces += 1
        return unroll(layer, params, xs)

    for same in (layer, layer, _rebuilt(layer)):
        run(same, case.params, case.xs)
    if traces != 1:
        raise LawBroken(
            f"retracing: {layer} was traced {traces} times in 3 equal calls. Declare it "
            "with @dataclass(frozen=True), and keep what changes out of its fields."
        )


def _rebuilt(layer: Layer) -> Layer:
    if not dataclasses.is_dataclass(layer):
        raise LawBroken(
            f"protocol: {type(layer).__name__} is no dataclass. Declare it with "
            "@dataclass(frozen=True), its sizes as fields."
        )
    return dataclasses.replace(layer)


def _case(layer: Layer, how: dict[str, Any]) -> Case:
    defaults = {"time": 6, "batch": 4, "seed": 0, "x": None}
    unknown = set(how) - set(defaults)
    if unknown:
        raise TypeError(
            f"unknown options {sorted(unknown)}; there are {sorted(defaults)}."
        )
    return make_case(layer, **{**defaults, **how})


def _label(case: Case, strategy: Strategy) -> str:
    return f"{case.layer} under {strategy}, T={case.time}, B={case.batch}"
