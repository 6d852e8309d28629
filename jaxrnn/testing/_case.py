"""A layer with inputs, and everything that `unroll` and its gradient say of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._layer import Layer


@dataclass(frozen=True, eq=False)
class Case:
    """A layer with random parameters, inputs and cotangents, in JAX's default float."""

    layer: Layer
    params: Any
    xs: Any
    state: Any
    key: jax.Array

    @property
    def time(self) -> int:
        return jax.tree.leaves(self.xs)[0].shape[0]

    @property
    def batch(self) -> int:
        return jax.tree.leaves(self.xs)[0].shape[1]


def make_case(layer: Layer, time: int, batch: int, seed: int, x: Any = None) -> Case:
    """A random case; `x` is an example of one step's input, where it cannot be found out."""
    k_params, k_noise, k_xs, k_state, key = jax.random.split(jax.random.key(seed), 5)
    example = example_input(layer) if x is None else x
    params = layer.init(k_params)
    # away from the initial values, so that biases and norms of 0 and 1 are tested
    params = _add_noise(params, k_noise, 0.1)
    one = layer.initial_state(params)
    state = jax.tree.map(lambda s: jnp.broadcast_to(s, (batch, *s.shape)), one)
    leaves, structure = jax.tree.flatten(example)
    keys = jax.random.split(k_xs, len(leaves))
    xs = _unflatten(
        structure,
        (
            _random_like(k, leaf, (time, batch))
            for k, leaf in zip(keys, leaves, strict=True)
        ),
    )
    return Case(layer, params, xs, _add_noise(state, k_state, 0.5), key)


def example_input(layer: Any) -> Any:
    """An input of one step, for a layer that says its `input_size`."""
    size = getattr(layer, "input_size", None)
    if size is None:
        raise ValueError(
            f"{layer} has no input_size, so its input cannot be made up: give `x`, an "
            "array like the input of one example at one step. Symbols are drawn from 0 "
            "to its value."
        )
    return jnp.zeros(size)


def _random_like(key: jax.Array, leaf: Any, axes: tuple[int, int]) -> Any:
    shape = (*axes, *jnp.shape(leaf))
    if jnp.issubdtype(jnp.result_type(leaf), jnp.integer):
        return jax.random.randint(key, shape, 0, jnp.max(leaf) + 1)
    return jax.random.normal(key, shape)


def _add_noise(tree: Any, key: jax.Array, scale: float) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, max(1, len(leaves)))
    return _unflatten(
        structure,
        (
            leaf + scale * jax.random.normal(k, jnp.shape(leaf), leaf.dtype)
            for k, leaf in zip(keys, leaves, strict=False)
        ),
    )


def is_float(leaf: Any) -> bool:
    """Whether an array has a gradient."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def cotangents(key: jax.Array, tree: Any) -> Any:
    """Random weights for every entry of `tree`, the same for the same shapes."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, max(1, len(leaves)))
    return _unflatten(
        structure,
        (
            jax.random.normal(k, leaf.shape, leaf.dtype)
            for k, leaf in zip(keys, leaves, strict=False)
        ),
    )


def value_and_grads(
    run: Callable, case: Case, xs: Any = None, *, compiled: bool = True
) -> dict[str, Any]:
    """What `run(layer, params, xs, state) -> (state, ys)` gives, and its gradients.

    The gradients are of a random linear function of state and outputs, with respect to
    parameters, inputs and the state before. A long Python loop is quicker not compiled.
    """
    xs = case.xs if xs is None else xs
    out = jax.eval_shape(partial(run, case.layer), case.params, xs, case.state)
    weights = cotangents(case.key, out)
    floating = [is_float(leaf) for leaf in jax.tree.leaves(xs)]

    def both(params, xs, state):
        leaves, structure = jax.tree.flatten(xs)
        inputs = [x for x, f in zip(leaves, floating, strict=True) if f]

        def scalar(params, inputs, state):
            it = iter(inputs)
            whole = _unflatten(
                structure,
                (next(it) if f else x for x, f in zip(leaves, floating, strict=True)),
            )
            out = run(case.layer, params, whole, state)
            products = jax.tree.map(lambda w, o: jnp.sum(w * o).real, weights, out)
            return sum(jax.tree.leaves(products)), out

        # not jax.grad, which refuses complex states
        value, pull, out = jax.vjp(scalar, params, inputs, state, has_aux=True)
        return pull(jnp.ones_like(value)), out

    both = jax.jit(both) if compiled else both
    (d_params, d_xs, d_state), (state, ys) = both(case.params, xs, case.state)
    return {
        "state": state,
        "ys": ys,
        "gradient of params": d_params,
        "gradient of xs": d_xs,
        "gradient of state": d_state,
    }


def awkward_lengths(case: Case) -> np.ndarray:
    """Lengths with 0, 1, T and what lies between."""
    spread = [case.time, 0, 1, max(1, case.time - 2)]
    return np.asarray([spread[b % 4] for b in range(case.batch)])


def awkward_mask(case: Case) -> np.ndarray:
    """Steps skipped at the start, in the middle, at the end, and whole rows of them."""
    mask = np.ones((case.time, case.batch), bool)
    mask[1::3, ::2] = False
    mask[[0, -1], 0] = False
    mask[:, 2:3] = False
    return mask


def awkward_resets(case: Case) -> np.ndarray:
    """Resets at the first step, in the middle, twice in a row, and in the padding."""
    resets = np.zeros((case.time, case.batch), bool)
    resets[0, ::2] = True
    resets[case.time // 2 :: 3, :] = True
    resets[-1, -1] = True
    return resets


def _unflatten(structure: Any, leaves: Iterable[Any]) -> Any:
    return jax.tree.unflatten(structure, list(leaves))
