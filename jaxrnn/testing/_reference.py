"""The meaning of `unroll`, slowly: one sequence at a time, one step after the other."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._layer import Layer
from ..layers import Bidirectional, Directions, Residual, SkipStack, Stack


def reference(
    layer: Layer,
    params: Any,
    xs: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """`unroll` as its docstring defines it, from `layer.step` alone.

    Arguments and results are those of `unroll`; lengths, mask and resets must be concrete.
    Combinators are run layer by layer, since one that holds a `Bidirectional` has no step.
    """
    time, batch = jax.tree.leaves(xs)[0].shape[:2]
    if lengths is None:
        lengths = np.full(batch, time)
    if mask is None:
        mask = np.ones((time, batch), bool)
    if resets is None:
        resets = np.zeros((time, batch), bool)
    if state is None:
        one = layer.initial_state(params)
        state = jax.tree.map(lambda s: jnp.stack([s] * batch), one)
    options = {"lengths": lengths, "mask": mask, "resets": resets, "reverse": reverse}
    if isinstance(layer, SkipStack):
        return _skipping(layer, params, xs, state, options)
    if isinstance(layer, Stack):
        after = []
        for inner, p, s in zip(layer.layers, params, state, strict=True):
            s, xs = reference(inner, p, xs, s, **options)
            after.append(s)
        return tuple(after), xs
    if isinstance(layer, Residual):
        state, ys = reference(layer.layer, params, xs, state, **options)
        valid = mask & (np.arange(time)[:, None] < np.asarray(lengths)[None])
        return state, jnp.where(valid[..., None], xs, jnp.zeros_like(xs)) + ys
    if isinstance(layer, Bidirectional):
        return _both_ways(layer, params, xs, state, options)
    return _rows(layer, params, xs, state, **options)


def _skipping(layer, params, xs, state, options):
    after: list[Any] = []
    outputs: list[Any] = []
    for inner, p, s in zip(layer.layers, params, state, strict=True):
        below = jnp.concatenate([xs, *outputs[-1:]], axis=-1)
        s, ys = reference(inner, p, below, s, **options)
        after.append(s)
        outputs.append(ys)
    return tuple(after), jnp.concatenate(outputs, axis=-1)


def _both_ways(layer, params, xs, state, options):
    backward, reverse = layer.backward or layer.forward, options["reverse"]
    s_f, ys_f = reference(layer.forward, params.forward, xs, state.forward, **options)
    s_b, ys_b = reference(
        backward,
        params.backward,
        xs,
        state.backward,
        **{**options, "reverse": not reverse},
    )
    return Directions(s_f, s_b), jax.tree.map(layer.merge, ys_f, ys_b)


def _rows(layer, params, xs, state, lengths, mask, resets, reverse):
    states, ys = [], []
    for b in range(len(lengths)):
        s, row = _row(
            layer,
            params,
            jax.tree.map(lambda x, b=b: x[:, b], xs),
            jax.tree.map(lambda s, b=b: s[b], state),
            int(lengths[b]),
            mask[:, b],
            resets[:, b],
            reverse,
        )
        states.append(s)
        ys.append(row)
    stack = lambda axis: lambda *leaves: jnp.stack(leaves, axis)
    return jax.tree.map(stack(0), *states), jax.tree.map(stack(1), *ys)


def _row(layer, params, xs, state, length, mask, resets, reverse):
    time = len(resets)
    outputs: list[Any] = [None] * time
    order = range(length - 1, -1, -1) if reverse else range(length)
    for t in order:
        # a reset at t cuts between t - 1 and t; in reverse, step t - 1 starts fresh
        fresh = t + 1 < length and resets[t + 1] if reverse else resets[t]
        if fresh:
            state = layer.reset_state(params, state)
        if not mask[t]:  # the state is kept, after the reset if there is one here
            continue
        x = jax.tree.map(lambda x, t=t: x[t], xs)
        state, outputs[t] = _step(layer, params, state, x)
    like = jax.eval_shape(layer.step, params, state, jax.tree.map(lambda x: x[0], xs))[
        1
    ]
    zeros = jax.tree.map(lambda y: jnp.zeros(y.shape, y.dtype), like)
    outputs = [zeros if y is None else y for y in outputs]
    return state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)


@jax.jit
def _step(layer, params, state, x):
    return layer.step(params, state, x)
