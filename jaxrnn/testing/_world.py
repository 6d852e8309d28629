"""Laws of Python and JAX around a layer: copies, NumPy, modes of JAX, donated buffers."""

import copy
import dataclasses
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._layer import Layer
from .._unroll import unroll
from ..strategies import Auto, Strategy
from ._by_steps import has_step
from ._case import (
    Unrolled,
    case_of,
    cotangents,
    is_float,
    join,
    label_of,
    make_options,
    split,
)
from ._compare import LawBroken, assert_close


FLOAT32 = 1e-5  # of the largest entry


def check_numpy(layer: Layer, **how: Any) -> None:
    """Checks that NumPy arrays give the same results as JAX arrays, in `unroll` and `step`.

    Args:
        layer: any layer.
        **how: `x`, `seed`, `time`, `batch` and `strategy`, as for the other laws.

    Raises:
        LawBroken: with the place, and by how much.
    """
    strategy = how.pop("strategy", Auto())
    case = case_of(layer, how)
    label = label_of(case, strategy)
    options = make_options(case, ("lengths", "resets"))
    arrays: dict[str, Any] = {
        name: jnp.asarray(value) for name, value in options.items()
    }
    given = case.params, case.xs, case.state
    want = unroll(layer, *given, **arrays, strategy=strategy)
    got = unroll(layer, *_numpy(given), **options, strategy=strategy)
    assert_close("NumPy", label, got, want, 0.0)
    if has_step(case):
        params, xs, state = given
        one = params, _first(state), _first(_first(xs))
        want, got = layer.step(*one), layer.step(*_numpy(one))
        got = jax.tree.map(jnp.asarray, got)
        assert_close("NumPy", f"{layer}.step", got, want, FLOAT32)


def _first(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], tree)


def _numpy(tree: Any) -> Any:
    """Arrays as NumPy arrays; typed keys stay, since NumPy has none."""
    keys = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda leaf: leaf if keys(leaf) else np.asarray(leaf), tree)


def check_copies(layer: Layer | Strategy, **how: Any) -> None:
    """Checks that pickled, copied and deeply copied layers equal the original.

    An equal layer is not traced again. Python cannot pickle lambdas and classes that are
    defined inside a function; a layer that holds one is only copied.

    Args:
        layer: any layer, or a strategy.

    Raises:
        LawBroken: with the kind of copy, and how it differs.
    """
    del how
    ways: dict[str, Callable] = {"copy": copy.copy, "deepcopy": copy.deepcopy}
    if not _is_local(layer):
        ways["pickle"] = lambda layer: pickle.loads(pickle.dumps(layer))
    for name, way in ways.items():
        try:
            again = way(layer)
        except Exception as error:
            raise LawBroken(f"copies: {name} of {layer} fails: {error}") from error
        same = again == layer and hash(again) == hash(layer)
        if not same or str(again) != str(layer) or type(again) is not type(layer):
            raise LawBroken(f"copies: {name} of {layer} gives {again}, which differs.")


def _is_local(value: Any) -> bool:
    """Whether a value is a lambda or is defined inside a function, or holds such a value."""
    name = getattr(value, "__qualname__", type(value).__qualname__)
    if "<locals>" in name or "<lambda>" in name:
        return True
    if isinstance(value, tuple):
        return any(map(_is_local, value))
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return False
    return any(_is_local(getattr(value, f.name)) for f in dataclasses.fields(value))


def check_disable_jit(layer: Layer, **how: Any) -> None:
    """Checks that the values under `jax.disable_jit()` are the same.

    Args:
        layer: any layer.
        **how: `x`, `seed`, `time`, `batch` and `strategy`, as for the other laws.

    Raises:
        LawBroken: with the place, and by how much.
    """
    strategy = how.pop("strategy", Auto())
    case = case_of(layer, {"time": 3, "batch": 2, **how})
    options = make_options(case, ("lengths", "resets"))

    def run():
        given = case.params, case.xs, case.state
        return unroll(layer, *given, **options, strategy=strategy)

    want = run()
    with jax.disable_jit():
        got = run()
    assert_close("disable_jit", label_of(case, strategy), got, want, FLOAT32)


def check_debug_nans(layer: Layer, **how: Any) -> None:
    """Checks that `jax.debug_nans(True)` finds no NaN, forward or backward, for finite inputs.

    Lengths include 0, and there are resets. The run starts from the initial state, where
    normalizations divide by their smallest numbers.

    Args:
        layer: any layer.
        **how: `x`, `seed`, `time`, `batch` and `strategy`, as for the other laws.

    Raises:
        LawBroken: with the place, and by how much.
    """
    strategy = how.pop("strategy", Auto())
    case = case_of(layer, how)
    options = make_options(case, ("lengths", "resets"))
    floats, rest = split((case.params, case.xs))

    def run(floats):
        params, xs = join(floats, rest)
        return split(unroll(layer, params, xs, **options, strategy=strategy))[0]

    try:
        with jax.debug_nans(True):
            out, pull = jax.vjp(run, floats)
            jax.block_until_ready(pull(cotangents(case.seed, out)))
    except FloatingPointError as error:
        label = label_of(case, strategy)
        raise LawBroken(
            f"debug_nans: {label} computes a NaN from finite inputs."
        ) from error


def check_donation(layer: Layer, **how: Any) -> None:
    """Checks that a compiled training step gives the same results when its inputs are donated.

    Args:
        layer: any layer.
        **how: `x`, `seed`, `time`, `batch` and `strategy`, as for the other laws.

    Raises:
        LawBroken: with the place, and by how much.
    """
    strategy = how.pop("strategy", Auto())
    case = case_of(layer, how)
    run = Unrolled(strategy)

    def train(params, xs, state):
        floats, rest = split((params, xs, state))
        forward = lambda floats: split(run(layer, *join(floats, rest)))[0]
        out, pull = jax.vjp(forward, floats)
        (gradients,) = pull(cotangents(case.seed, out))
        down = lambda p, g: p - jnp.asarray(0.1, p.dtype) * g
        stepped = jax.tree.map(down, floats, gradients)
        return join(stepped, rest), out

    given = case.params, case.xs, case.state
    want = jax.tree.map(np.array, _float_part(jax.jit(train)(*given)))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # JAX warns of donated buffers that it cannot use
        got = jax.jit(train, donate_argnums=(0, 1, 2))(*_fresh(given))
    assert_close("donation", label_of(case, strategy), _float_part(got), want, FLOAT32)


def _fresh(tree: Any) -> Any:
    """A copy of every leaf, so that donation leaves the originals alone."""
    return jax.tree.map(jnp.copy, tree)


def _float_part(tree: Any) -> Any:
    return split(tree)[0]


def check_descent(layer: Layer, *, seed: int = 0, **how: Any) -> None:
    """Checks that every parameter is real, so that a step against `jax.grad` lowers the loss.

    For a complex parameter JAX returns the conjugate of the direction of steepest ascent, and
    an optimizer that does not know this can raise the loss. A cell keeps two real parameters
    instead.

    Args:
        layer: any layer.
        seed: the seed of the parameters.
        **how: ignored; the other laws take these options.

    Raises:
        LawBroken: with the name of a complex parameter.
    """
    params = layer.init(jax.random.key(seed))
    for path, leaf in jax.tree.leaves_with_path(params):
        if is_float(leaf) and jnp.iscomplexobj(leaf):
            raise LawBroken(
                f"descent: {layer} has a complex parameter, params"
                f"{jax.tree_util.keystr(path)}, and a step against jax.grad can raise its "
                "loss. Keep its real and imaginary parts as two real parameters."
            )
