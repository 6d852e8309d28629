"""Values and gradients from single steps: the chain rule, written out in a Python loop.

`unroll` must equal this reference. It compiles two small functions, one step and its transpose,
and accumulates their results in NumPy, so that it is cheap and obviously right.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._layer import Layer
from ..strategies import Scan
from ._case import Case, Unrolled, cotangents, join, split, value_and_grads
from ._reference import reference


def by_steps(case: Case, weights: Any = None, *, options: dict[str, Any]) -> dict:
    """The results of `value_and_grads`, from `layer.step` on one sequence after the other.

    Args:
        case: the layer and its inputs.
        weights: cotangents of `(state, ys)`; None for the random ones of `value_and_grads`.
        options: any of `lengths`, `mask`, `resets` and `reverse`, as `unroll` takes them.
    """
    if not has_step(case):
        run = lambda *given: reference(*given, **options)
        return value_and_grads(run, case, weights=weights, compiled=False)
    if weights is None:
        weights = cotangents(case.seed, outputs_like(case))
    rows = [_row(case, options, weights, b) for b in range(case.batch)]
    states, outputs, d_params, d_inputs, d_states = zip(*rows, strict=True)
    return {
        "state": _stacked(states, 0),
        "ys": _stacked(outputs, 1),
        "gradient of params": _as_given(_sum(d_params), case.params),
        "gradient of xs": _stacked(d_inputs, 1),
        "gradient of state": _stacked(d_states, 0),
    }


def has_step(case: Case) -> bool:
    """Whether the layer takes single steps; a layer that reads from the end cannot."""
    state, x = _at(case.state, 0), _at(_at(case.xs, 0), 0)
    try:
        jax.eval_shape(case.layer.step, case.params, state, x)
    except NotImplementedError:
        return False
    return True


def _row(case: Case, options: dict[str, Any], weights: Any, b: int) -> tuple:
    """One sequence: state, outputs, and the gradients of params, inputs and state."""
    layer, params = case.layer, case.params
    xs, state = _host(case.xs), _at(case.state, b)
    outputs, tape = [_zeros(_at(_at(_host(weights[1]), 0), b))] * case.time, []
    for t, fresh, taken in _order(case.time, b, **options):
        if fresh:
            tape.append((None, state, None))
            state = _host(_reset(layer, params, state))
        if not taken:  # the state is kept, after the reset if there is one here
            continue
        x = _at(_at(xs, t), b)
        tape.append((t, state, x))
        state, outputs[t] = _host(_step(layer, params, state, x))

    d_params = [_zeros(split(params)[0])]
    d_inputs = [_zeros(split(_at(_at(xs, 0), b))[0])] * case.time
    d_state = split(_at(_host(weights[0]), b))[0]
    for t, before, x in reversed(tape):
        if t is None:
            found = _reset_transposed(layer, params, before, d_state)
            d_now, d_state = _host(found)
            d_params.append(d_now)
            continue
        d_y = split(_at(_at(_host(weights[1]), t), b))[0]
        found = _step_transposed(layer, params, before, x, (d_state, d_y))
        d_now, d_state, d_inputs[t] = _host(found)
        d_params.append(d_now)
    return (
        _host(state),
        _stacked(outputs, 0),
        _sum(d_params),
        _stacked(d_inputs, 0),
        d_state,
    )


def _order(time, b, lengths=None, mask=None, resets=None, reverse=False):
    """The steps of a sequence in order: number, whether it is reset, whether it is taken."""
    length = time if lengths is None else int(lengths[b])
    taken = np.ones(time, bool) if mask is None else np.asarray(mask)[:, b]
    cuts = np.zeros(time, bool) if resets is None else np.asarray(resets)[:, b]
    if reverse:  # a reset at t cuts between t - 1 and t, so step t - 1 starts fresh
        after = np.append(cuts[1:length], False)
        return [(t, after[t], taken[t]) for t in reversed(range(length))]
    return [(t, cuts[t], taken[t]) for t in range(length)]


@jax.jit
def _step(layer: Layer, params: Any, state: Any, x: Any) -> Any:
    return layer.step(params, state, x)


@jax.jit
def _step_transposed(layer: Layer, params: Any, state: Any, x: Any, weights: Any):
    floats, rest = split((params, state, x))
    step = lambda floats: split(layer.step(*join(floats, rest)))[0]
    return jax.vjp(step, floats)[1](weights)[0]


@jax.jit
def _reset(layer: Layer, params: Any, state: Any) -> Any:
    return layer.reset_state(params, state)


@jax.jit
def _reset_transposed(layer: Layer, params: Any, state: Any, weights: Any) -> Any:
    floats, rest = split((params, state))
    reset = lambda floats: split(layer.reset_state(*join(floats, rest)))[0]
    return jax.vjp(reset, floats)[1](weights)[0]


def outputs_like(case: Case) -> Any:
    """Shapes and dtypes of `(state, ys)`."""
    run = Unrolled(Scan())
    return jax.eval_shape(partial(run, case.layer), case.params, case.xs, case.state)


def _host(tree: Any) -> Any:
    """Arrays as NumPy arrays, to index and add without compiling; typed keys stay."""
    keys = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda leaf: leaf if keys(leaf) else np.asarray(leaf), tree)


def _at(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], _host(tree))


def _zeros(tree: Any) -> Any:
    return jax.tree.map(np.zeros_like, tree)


def _sum(trees: Any) -> Any:
    return jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *trees)


def _as_given(tree: Any, like: Any) -> Any:
    return jax.tree.map(lambda d, p: np.asarray(d, p.dtype), tree, split(like)[0])


def _stacked(trees: Any, axis: int) -> Any:
    """Trees of one structure stacked along `axis`; typed keys by JAX, since NumPy has none."""
    keys = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    stack = lambda *leaves: (
        jnp.stack(leaves, axis) if keys(leaves[0]) else np.stack(leaves, axis)
    )
    return jax.tree.map(stack, *trees)
