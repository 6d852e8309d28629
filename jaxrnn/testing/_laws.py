"""The laws of the library as functions, to run on your own layers and strategies."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._layer import Layer
from .._unroll import unroll
from ..strategies import Checkpointed, Scan, Strategy
from ._by_steps import by_steps, has_step
from ._case import (
    TOLERANCE,
    Case,
    awkward_resets,
    case_of,
    cotangents,
    is_float,
    label_of,
    make_options,
    unrolled,
)
from ._compare import LawBroken, assert_close
from ._dtypes import check_dtypes, check_inputs
from ._export import check_export
from ._mesh import check_mesh
from ._nan import check_nan
from ._world import (
    check_copies,
    check_debug_nans,
    check_descent,
    check_disable_jit,
    check_donation,
    check_numpy,
)


THOROUGH = (
    "checkpoints of every size",
    "inputs of every dtype",
    "disable_jit",
    "debug_nans",
    "donation",
    "export",
    "mesh",
)
"""The laws that `check_cell` leaves out by default, since they double its time."""


def check_cell(
    layer: Layer, x: Any = None, *, seed: int = 0, thorough: bool = False
) -> None:
    """Checks every law of the library on one layer, such as a cell of your own.

    All laws but that of dtypes run in float64, where a correct layer agrees to 1e-9. The
    check takes 15 to 30 seconds on two cores. By default it leaves out the laws that
    `THOROUGH` names: another checkpointing, integer and complex inputs, `jax.disable_jit`,
    `jax.debug_nans`, donated arguments, `jax.export`, and meshes, which need two devices.

    Args:
        layer: a cell, or any layer.
        x: an example of one step's input; needed if the layer has no `input_size`.
        seed: the seed of parameters and inputs.
        thorough: whether to check the laws of `THOROUGH` as well.

    Raises:
        LawBroken: with the law, the place, and by how much.

    Example:
        >>> import jaxrnn
        >>> jaxrnn.testing.check_cell(jaxrnn.Elman(3, 4))
    """
    how: dict[str, Any] = {"x": x, "seed": seed}
    check_protocol(layer, seed=seed)
    check_copies(layer)
    check_descent(layer, seed=seed)
    for options in OPTIONS:
        check_unroll(layer, options, **how)
    for check in (check_padding, check_nan, check_chunks, check_transformations):
        check(layer, **how)
    check_strategy(Checkpointed(3, Checkpointed(2)), layer, **how)
    for check in (check_dtypes, check_numpy, check_retracing):
        check(layer, **how)
    if thorough:
        _check_thoroughly(layer, **how)


def _check_thoroughly(layer: Layer, **how: Any) -> None:
    """The laws that `THOROUGH` names."""
    check_strategy(Checkpointed(), layer, **how)
    for check in (
        check_inputs,
        check_disable_jit,
        check_debug_nans,
        check_donation,
        check_export,
    ):
        check(layer, **how)
    if len(jax.devices()) > 1:
        check_mesh(layer, **how)


OPTIONS: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({"lengths", "resets"}),
    frozenset({"lengths", "mask", "resets", "reverse"}),
)
"""Combinations of the options of `unroll` that `check_cell` tries."""


def check_protocol(layer: Layer, *, seed: int = 0) -> None:
    """Checks that a layer is hashable, equal when rebuilt, and that its `init` is pure.

    No array may occur twice in the parameters.

    Args:
        layer: any layer.
        seed: the seed of the parameters.

    Raises:
        LawBroken: with the reason, and what to change.
    """
    law, case = "protocol", str(layer)
    if _rebuilt(layer) != layer or hash(_rebuilt(layer)) != hash(layer):
        raise LawBroken(
            f"{law}: {case} does not equal a layer that is built from the same fields, so "
            "jax.jit traces it again each time. Declare it with @dataclass(frozen=True)."
        )
    params = layer.init(jax.random.key(seed))
    again = layer.init(jax.random.key(seed))
    assert_close(law, f"{case}: init with the same key twice", again, params, 0.0)
    arrays = jax.tree.leaves(params)
    if len({id(a) for a in arrays}) < len(arrays):
        raise LawBroken(
            f"{law}: {case}.init returns one array in two places, and an update that "
            "donates the parameters would donate it twice. Make a separate array for each."
        )


def check_unroll(layer: Layer, options: Any = (), **how: Any) -> None:
    """Checks that `unroll` equals repeated calls of `step`, in value and every gradient.

    Args:
        layer: any layer.
        options: any of "lengths", "mask", "resets" and "reverse".
        **how: `x` and `seed` as for `check_cell`; `time` and `batch`; `strategy`.

    Raises:
        LawBroken: with the place, and by how much.
    """
    strategy = how.pop("strategy", Scan())
    with jax.enable_x64(True):
        case = case_of(layer, how)
        given = make_options(case, options)

        assert_close(
            "unroll",
            f"{label_of(case, strategy)} with {sorted(options) or 'no options'}",
            unrolled(case, options=given, strategy=strategy),
            by_steps(case, options=given),
            TOLERANCE,
        )


def check_padding(
    layer: Layer, options: Any = ("lengths", "resets"), **how: Any
) -> None:
    """Checks that NaN in the padding changes neither values nor gradients.

    Args:
        layer: any layer.
        options: "lengths", and any of "mask", "resets" and "reverse".
        **how: `x` and `seed` as for `check_cell`; `time` and `batch`; `strategy`.

    Raises:
        LawBroken: with the place, and by how much.
    """
    strategy = how.pop("strategy", Scan())
    with jax.enable_x64(True):
        case = case_of(layer, how)
        given = make_options(case, options)
        lengths = given["lengths"]
        padding = np.arange(case.time)[:, None] >= lengths[None, :]

        def spoiled(x):
            bad = np.array(x)
            bad[padding] = np.nan if is_float(x) else 100
            return jnp.asarray(bad)

        bad = dataclasses.replace(case, xs=jax.tree.map(spoiled, case.xs))
        assert_close(
            "padding",
            f"{label_of(case, strategy)} with NaN past lengths {lengths.tolist()}",
            unrolled(bad, options=given, strategy=strategy),
            unrolled(case, options=given, strategy=strategy),
            TOLERANCE,
        )


def check_chunks(layer: Layer, **how: Any) -> None:
    """Checks that a sequence in two chunks, with the state carried over, equals one call.

    Args:
        layer: any layer; one that cannot take single steps needs the whole sequence, and is
            not checked.
        **how: `x` and `seed` as for `check_cell`; `time` and `batch`; `strategy`.

    Raises:
        LawBroken: with the place, and by how much.
    """
    strategy = how.pop("strategy", Scan())
    with jax.enable_x64(True):
        case = case_of(layer, how)
        if not has_step(case):
            return
        resets = jnp.asarray(awkward_resets(case))
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
        label = f"{label_of(case, strategy)} cut at {cut}"
        assert_close("chunks", label, (state, ys), whole, TOLERANCE)


def check_strategy(
    strategy: Strategy, layer: Layer, options: Any = ("lengths", "resets"), **how: Any
) -> None:
    """Checks law S: the value and every gradient under a strategy equal those of `Scan()`.

    Args:
        strategy: any strategy that accepts the layer.
        layer: any layer.
        options: any of "lengths", "mask", "resets" and "reverse".
        **how: `x` and `seed` as for `check_cell`; `time` and `batch`.

    Raises:
        LawBroken: with the place, and by how much.
        NotImplementedError: from a strategy that does not accept the layer.

    Example:
        >>> import jaxrnn
        >>> jaxrnn.testing.check_strategy(jaxrnn.Checkpointed(3), jaxrnn.MGU(3, 4))
    """
    with jax.enable_x64(True):
        case = case_of(layer, how)
        given = make_options(case, options)

        assert_close(
            "Law S",
            f"{label_of(case, strategy)} with {sorted(options) or 'no options'}",
            unrolled(case, options=given, strategy=strategy),
            unrolled(case, options=given, strategy=Scan()),
            TOLERANCE,
        )


def check_transformations(layer: Layer, **how: Any) -> None:
    """Checks `vmap` of the whole unroll, `jvp`, and Hessian-vector products.

    A Hessian-vector product is taken forward over reverse and reverse over reverse.

    Args:
        layer: any layer.
        **how: `x` and `seed` as for `check_cell`; `time` and `batch`; `strategy`.

    Raises:
        LawBroken: with the transformation, the place, and by how much.
    """
    strategy = how.pop("strategy", Scan())
    with jax.enable_x64(True):
        case = case_of(layer, how)
        label = label_of(case, strategy)

        def run(params):
            return unroll(layer, params, case.xs, case.state, strategy=strategy)

        def scalar(params):
            weights = cotangents(case.seed, jax.eval_shape(run, params))
            pairs = zip(*map(jax.tree.leaves, (weights, run(params))), strict=True)
            return sum(jnp.sum(w * o * o).real for w, o in pairs if is_float(o))

        many = jax.tree.map(lambda p: jnp.stack([p, 0.5 * p]), case.params)
        if jax.tree.leaves(many):
            want = [run(jax.tree.map(lambda p, i=i: p[i], many)) for i in range(2)]
            want = jax.tree.map(lambda *rows: jnp.stack(rows), *want)
            assert_close("vmap", label, jax.jit(jax.vmap(run))(many), want, TOLERANCE)
            _check_derivatives(label, scalar, case)


def _check_derivatives(label: str, scalar: Any, case: Case) -> None:
    direction = cotangents(case.seed + 1, case.params)

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


def check_retracing(layer: Layer, **how: Any) -> None:
    """Checks that one trace serves a second call, and an equal layer that is built later.

    Args:
        layer: any layer.
        **how: `x` and `seed` as for `check_cell`; `time` and `batch`.

    Raises:
        LawBroken: with the number of traces, and what to change.
    """
    case = case_of(layer, how)
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
            f"protocol: {type(layer).__name__} is not a dataclass. Declare it with "
            "@dataclass(frozen=True) and give it its sizes as fields."
        )
    return dataclasses.replace(layer)
