"""A layer with random inputs, and the values and gradients of `unroll` on them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._arrays import float_dtype
from .._layer import Layer
from .._unroll import unroll
from ..strategies import Strategy


@dataclass(frozen=True, eq=False)
class Case:
    """A layer with random parameters, inputs and state, in JAX's default float dtype."""

    layer: Layer
    params: Any
    xs: Any
    state: Any
    seed: int

    @property
    def time(self) -> int:
        return jax.tree.leaves(self.xs)[0].shape[0]

    @property
    def batch(self) -> int:
        return jax.tree.leaves(self.xs)[0].shape[1]


def make_case(layer: Layer, time: int, batch: int, seed: int, x: Any = None) -> Case:
    """A random case; `x` is an example of one step's input, for layers without `input_size`."""
    rng = np.random.default_rng(seed)
    example = example_input(layer) if x is None else x
    # with noise, since biases of 0 and gains of 1 would hide faults
    params = _add_noise(layer.init(jax.random.key(seed)), rng, 0.1)
    one = layer.initial_state(params)
    state = jax.tree.map(lambda s: jnp.broadcast_to(s, (batch, *s.shape)), one)
    xs = jax.tree.map(lambda leaf: _random_like(rng, leaf, (time, batch)), example)
    return Case(layer, params, xs, _add_noise(state, rng, 0.5), seed)


def example_input(layer: Any) -> Any:
    """An input of one step, for a layer that has an `input_size`."""
    size = getattr(layer, "input_size", None)
    if size is None:
        raise ValueError(
            f"{layer} has no input_size, so a random input cannot be made. Give `x`, an "
            "array like the input of one example at one step. For a layer that takes "
            "symbols, give the largest symbol."
        )
    return jnp.zeros(size)


def _random_like(rng: np.random.Generator, leaf: Any, axes: tuple[int, int]) -> Any:
    shape, dtype = (*axes, *jnp.shape(leaf)), jnp.result_type(leaf)
    if jnp.issubdtype(dtype, jnp.integer):
        return jnp.asarray(rng.integers(0, int(jnp.max(leaf)) + 1, shape), dtype)
    if dtype == jnp.bool_:
        return jnp.asarray(rng.integers(0, 2, shape), dtype)
    if jnp.issubdtype(dtype, jnp.floating):
        dtype = float_dtype()  # x64 may have been enabled since the example was made
    return jnp.asarray(_normal(rng, shape, dtype))


def _add_noise(tree: Any, rng: np.random.Generator, scale: float) -> Any:
    def noisy(leaf):
        if not is_float(leaf):
            return leaf
        noise = scale * _normal(rng, leaf.shape, leaf.dtype)
        return leaf + noise.astype(leaf.dtype)

    return jax.tree.map(noisy, tree)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Random numbers from NumPy; JAX would compile a generator for each shape, slowly."""
    values = rng.standard_normal(shape)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        values = (values + 1j * rng.standard_normal(shape)) / 2**0.5
    return np.asarray(values).astype(dtype)


def is_float(leaf: Any) -> bool:
    """Whether an array has a floating-point or complex dtype, and so a gradient."""
    dtype = leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)
    return jnp.issubdtype(dtype, jnp.inexact)


def split(tree: Any) -> tuple[Any, Any]:
    """The float leaves of a tree, and its other leaves, each with None for the rest."""
    floats = jax.tree.map(lambda leaf: leaf if is_float(leaf) else None, tree)
    rest = jax.tree.map(lambda leaf: None if is_float(leaf) else leaf, tree)
    return floats, rest


def join(floats: Any, rest: Any) -> Any:
    """The inverse of `split`."""
    pick = lambda f, r: r if f is None else f
    return jax.tree.map(pick, floats, rest, is_leaf=lambda leaf: leaf is None)


def cotangents(seed: int, tree: Any) -> Any:
    """Random cotangents for the float leaves of `tree`, ones for the others.

    They depend on the seed and the shapes only.
    """
    rng = np.random.default_rng([seed, 1])

    def weight(leaf):
        if is_float(leaf):
            return _normal(rng, leaf.shape, leaf.dtype)
        return np.ones(leaf.shape, np.int8)

    return jax.tree.map(weight, tree)


@dataclass(frozen=True)
class Unrolled:
    """`unroll` under a strategy; equal objects share one compiled program."""

    strategy: Strategy
    reverse: bool = False

    def __call__(self, layer, params, xs, state, **masks):
        how = {"reverse": self.reverse, "strategy": self.strategy, **masks}
        return unroll(layer, params, xs, state, **how)


def unrolled(
    case: Case, weights: Any = None, *, options: dict[str, Any], strategy: Strategy
) -> dict[str, Any]:
    """`value_and_grads` of `unroll`, with the same options as `by_steps`."""
    masks = {name: jnp.asarray(o) for name, o in options.items() if name != "reverse"}
    run = Unrolled(strategy, options.get("reverse", False))
    return value_and_grads(run, case, weights=weights, masks=masks)


def value_and_grads(
    run: Callable,
    case: Case,
    xs: Any = None,
    *,
    weights: Any = None,
    masks: Any = None,
    compiled: bool = True,
) -> dict[str, Any]:
    """`(state, ys)` of `run(layer, params, xs, state, **masks)`, and the gradients.

    The gradients are those of a random linear function of both, with respect to the float
    leaves of parameters, inputs and initial state. `weights` are the coefficients of that
    function; None for random ones. `compiled=False` suits a long Python loop, which would
    take longer to compile than to run.
    """
    masks = masks or {}
    given = case.params, case.xs if xs is None else xs, case.state
    if weights is None:
        out = jax.eval_shape(partial(run, case.layer), *given, **masks)
        weights = cotangents(case.seed, out)
    both = _both_compiled if compiled else _both
    gradients, (state, ys) = both(run, case.layer, given, split(weights)[0], masks)
    d_params, d_xs, d_state = gradients
    return {
        "state": state,
        "ys": ys,
        "gradient of params": d_params,
        "gradient of xs": d_xs,
        "gradient of state": d_state,
    }


def _both(run: Callable, layer: Layer, given: Any, weights: Any, masks: Any) -> Any:
    floats, rest = split(given)

    def floating(floats):
        return split(run(layer, *join(floats, rest), **masks))

    out, pull, others = jax.vjp(floating, floats, has_aux=True)
    return pull(weights)[0], join(out, others)


_both_compiled = jax.jit(_both, static_argnums=0)


def awkward_lengths(case: Case) -> np.ndarray:
    """Lengths of 0, 1, T - 2 and T."""
    spread = [case.time, 0, 1, max(1, case.time - 2)]
    return np.asarray([spread[b % 4] for b in range(case.batch)])


def awkward_mask(case: Case) -> np.ndarray:
    """A mask that skips steps at the start, in the middle, at the end, and a whole sequence."""
    mask = np.ones((case.time, case.batch), bool)
    mask[1::3, ::2] = False
    mask[[0, -1], 0] = False
    mask[:, 2:3] = False
    return mask


def awkward_resets(case: Case) -> np.ndarray:
    """Resets at the first step, in the middle, close together, and in the padding."""
    resets = np.zeros((case.time, case.batch), bool)
    resets[0, ::2] = True
    resets[case.time // 2 :: 3, :] = True
    resets[-1, -1] = True
    return resets


TOLERANCE = 1e-9  # in float64, relative to the largest entry


def make_options(case: Case, names: Any) -> dict[str, Any]:
    """Arguments of `unroll`, by name: any of lengths, mask, resets and reverse."""
    values = {
        "lengths": awkward_lengths(case),
        "mask": awkward_mask(case),
        "resets": awkward_resets(case),
        "reverse": True,
    }
    return {name: values[name] for name in sorted(names)}


def case_of(layer: Layer, how: dict[str, Any]) -> Case:
    """The case that the options of a law describe: `time`, `batch`, `seed` and `x`."""
    defaults = {"time": 6, "batch": 4, "seed": 0, "x": None}
    unknown = set(how) - set(defaults)
    if unknown:
        raise TypeError(
            f"unknown options {sorted(unknown)}; the options are {sorted(defaults)}."
        )
    return make_case(layer, **{**defaults, **how})


def label_of(case: Case, strategy: Any) -> str:
    """The description of a case in an error message."""
    return f"{case.layer} under {strategy}, T={case.time}, B={case.batch}"
