"""`unroll` runs any layer over a batch of sequences; `explain` says how it will run."""

from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Integer, Key

from . import _check
from ._arrays import valid_steps
from ._layer import Context, Layer
from ._sharding import aligned, on_automatic_axes
from ._typing import DType, Params, Sequence, State
from .strategies import Auto, Strategy
from .strategies._base import Decision, check_strategy, recorded_decisions
from .strategies._platform import (
    check_platform,
    default_platform,
    on_platform,
    on_target,
    target,
)


Tree = TypeVar("Tree")


def unroll(
    layer: Layer[Params, State],
    params: Params,
    xs: Sequence,
    state: State | None = None,
    *,
    lengths: Integer[Array, "B"] | None = None,
    mask: Bool[Array, "T B"] | None = None,
    resets: Bool[Array, "T B"] | None = None,
    reverse: bool = False,
    key: Key[Array, ""] | None = None,
    strategy: Strategy = Auto(),
) -> tuple[State, Sequence]:
    """Runs a layer over a batch of sequences.

        state_t, y_t = layer.step(params, state_{t-1}, x_t),    t = 1 ... T

    Streaming step by step, in chunks or all at once gives the same answer: pass the
    returned state to the next call. The function compiles on first use, and works inside
    `jax.jit`, `jax.grad` and `jax.vmap`. To choose a strategy, see the table of
    `jaxrnn.Auto` and the report of `jaxrnn.explain`.

    Args:
        layer: any layer or cell.
        params: its parameters, as `layer.init(key)` returns them.
        xs: `(T, B, features)` with T and B at least 1, or a pytree of such arrays. For
            other layouts use `unroll_batch_major` or `unroll_one`.
        state: the state to continue from, leaves `(B, ...)`; None for the initial state.
        lengths: `(B,)` integers from 0 to T, the number of valid steps of each sequence.
            The returned state is the one after the last valid step, outputs past it are
            zero, and nothing in the padding, NaN included, reaches values or gradients.
            Inside `jax.jit` the range cannot be checked: a length below 0 counts as 0, and
            a length above T as T.
        mask: `(T, B)` booleans, for gaps inside a sequence. A step is skipped where the
            mask is False: the state is kept, the output is zero, and the input reaches
            nothing. With both `lengths` and `mask`, a step is taken where both allow it.
        resets: `(T, B)` booleans. True cuts the sequence before this step, so that the step
            starts from the initial state; use it for episodes, or for documents packed into
            one sequence. In reverse, the step before the cut starts from the initial state.
            A reset at a masked step cuts as well; a reset past the end of its sequence does
            not.
        reverse: True runs from the last valid step of each sequence to its first; outputs
            keep the positions of their inputs.
        key: the random key of dropout-like layers; without it they are deterministic.
        strategy: how the recurrence is executed; it never changes values or gradients.

    Returns:
        `(state, ys)`: the state after the last step, leaves `(B, ...)`, and the outputs,
        `(T, B, ...)`. Both have the dtype of the parameters, except for states that a cell
        keeps in float32 so that long memories are not lost to rounding.

    Raises:
        TypeError, ValueError: if an argument is invalid, before anything runs.
        NotImplementedError: if the strategy cannot run the layer.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> model = jaxrnn.Stack((jaxrnn.LSTM(8, 64), jaxrnn.GRU(64, 64)))
        >>> params = model.init(jax.random.key(0))
        >>> xs = jnp.ones((20, 4, 8))
        >>> state, ys = jaxrnn.unroll(model, params, xs, lengths=jnp.array([20, 7, 1, 0]))
        >>> ys.shape
        (20, 4, 64)
        >>> state, ys = jaxrnn.unroll(model, params, xs, state)
    """
    check_strategy(strategy)
    given = _check.arguments(
        layer, params, xs, state, lengths, mask, resets, reverse, key
    )
    return _run(*given, strategy, target=target())


def _trace(layer, params, xs, state, lengths, mask, resets, reverse, key, strategy):
    # inside shard_map an array's type names the mesh axes that it varies over, and a loop
    # must keep the types of its carry: one cast here serves every loop below
    given = aligned((params, xs, state, lengths, mask, resets, key))
    run = partial(_on_one_mesh, layer, reverse, strategy)
    masks = {"lengths": lengths, "mask": mask, "resets": resets}
    return on_automatic_axes(run, params, xs, state, masks)(*given)


def _on_one_mesh(
    layer, reverse, strategy, params, xs, state, lengths, mask, resets, key
):
    inside = None
    if lengths is not None:
        inside = valid_steps(lengths, jax.tree.leaves(xs)[0].shape[0])
    valid = _both(inside, mask)
    context = Context(strategy, valid, _cuts(resets, inside), key)
    if valid is not None:
        # zero the padding before any layer reads it: a NaN input makes gradients NaN even
        # where the output is masked, since zero times NaN is NaN
        xs = _without_padding(xs, valid)
        # for the same reason, no layer reads the state of a sequence that takes no step
        busy = valid if context.resets is None else valid | context.resets
        given, empty = state, ~jnp.any(busy, axis=0)
        fresh = jax.vmap(lambda s, _: layer.reset_state(params, s))(given, empty)
        state = _where(empty, fresh, given)
    if reverse:
        xs, context = jax.tree.map(lambda x: x[::-1], xs), context.flipped()
    state, ys = layer.unroll(params, state, xs, context)
    if reverse:
        ys = jax.tree.map(lambda y: y[::-1], ys)
    if valid is None:
        return state, ys
    return _where(empty, given, state), _without_padding(ys, valid)


def _where(which, yes, no):
    """Selects `yes` or `no` for each sequence of a state; `which` is `(B,)`."""

    def chosen(yes, no):
        return jnp.where(which.reshape(-1, *[1] * (no.ndim - 1)), yes, no)

    return jax.tree.map(chosen, yes, no)


_REVERSE = 7
"""The position of `reverse` among the arguments of `_trace`."""


def _trace_for(*given, target):
    # an argument, since the cache of `jit` does not know of the context
    with on_target(target):
        return _trace(*given)


_run = jax.jit(_trace_for, static_argnums=_REVERSE, static_argnames="target")


def _both(mask, other):
    """Where both masks are True; None means True everywhere."""
    if mask is None or other is None:
        return other if mask is None else mask
    return mask & other


def _cuts(resets, inside):
    """Resets as cuts between steps, `(T + 1, B)`; without those past a sequence's end.

    Cuts at skipped steps are kept: the episode before such a step has ended as well.
    """
    if resets is None:
        return None
    cuts = _both(resets, inside)
    return jnp.concatenate([cuts, jnp.zeros_like(cuts[:1])])


def _without_padding(xs: Tree, valid: Bool[Array, "T B"]) -> Tree:
    """The arrays with zeros past the end of each sequence and at skipped steps."""

    def zeroed(x):
        mask = valid.reshape(valid.shape + (1,) * (x.ndim - 2))
        return jnp.where(mask, x, jnp.zeros_like(x))

    return jax.tree.map(zeroed, xs)


@dataclass(frozen=True)
class Explanation:
    """The report of `explain`: one decision for each recurrence. It prints as a table."""

    decisions: tuple[Decision, ...]

    def __str__(self) -> str:
        if not self.decisions:
            return "no recurrence: every step is independent of the others"
        return "\n".join(map(_described, self.decisions))


def _described(decision: Decision) -> str:
    plan = decision.choice
    how = f": {plan.how}" if plan.how else ""
    lines = [
        f"{decision.cell} over T={decision.time}, B={decision.batch}, "
        f"on {decision.platform}",
        f"  runs          {plan.strategy}{how}",
    ]
    for strategy, reason in plan.passed_over:
        lines.append(f"  passed over   {strategy}: {reason}")
    if plan.evidence:
        lines.append(f"  evidence      {plan.evidence}")
    return "\n".join(lines)


def explain(
    layer: Layer,
    shape: tuple[int, ...],
    dtype: DType = jnp.float32,
    *,
    state: State | None = None,
    strategy: Strategy = Auto(),
    platform: str | None = None,
) -> Explanation:
    """Reports which strategy runs each recurrence of a layer, and why the others do not.

    Nothing is computed: the layer is traced as `unroll` would trace it, and the plans of
    the strategies are recorded.

    Args:
        layer: any layer.
        shape: the shape of xs, `(T, B, features)`, or `(T, B)` for token ids.
        dtype: the dtype of xs.
        state: the state that `unroll` would be given, or its shapes; None for the initial
            state. An attention layer needs it, since it has no initial state.
        strategy: the strategy that `unroll` would be given.
        platform: "cpu", "gpu" or "tpu"; None for the platform that JAX would use.

    Returns:
        An `Explanation`: print it, or read its `decisions`.

    Raises:
        TypeError, ValueError: if an argument is invalid.
        NotImplementedError: if the strategy cannot run the layer.

    Example:
        >>> import jaxrnn
        >>> print(jaxrnn.explain(jaxrnn.Dense(3, 4), (5, 2, 3)))
        no recurrence: every step is independent of the others
    """
    _check.check_layer(layer)
    check_strategy(strategy)
    if platform is not None:
        check_platform(platform)
    xs = jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype))
    params = jax.eval_shape(lambda: layer.init(jax.random.key(0)))

    # jax.eval_shape traces without compiling or computing anything; the decisions leave
    # the trace through a list, since they are not arrays
    decisions: list[Decision] = []

    def run(params, xs, state):
        given = _check.arguments(layer, params, xs, state)
        with on_platform(platform or default_platform()), recorded_decisions() as made:
            out = _trace(*given, strategy)
        decisions.extend(made)
        return out

    jax.eval_shape(run, params, xs, state)
    return Explanation(tuple(decisions))


def cast(tree: Tree, dtype: DType) -> Tree:
    """Casts the floating-point and complex leaves of a tree to another dtype.

    With params in bfloat16, a layer computes in bfloat16 and returns bfloat16.

    Args:
        tree: params, a state, or any pytree of arrays.
        dtype: a floating-point dtype.

    Returns:
        A tree of the same structure. Complex leaves become complex128 for float64 and
        complex64 for all narrower dtypes; integers and booleans are left unchanged.

    Raises:
        TypeError: if the dtype is not floating-point.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> params = jaxrnn.GRU(3, 4).init(jax.random.key(0))
        >>> jaxrnn.cast(params, jnp.bfloat16).w.dtype
        dtype(bfloat16)
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"cast to {dtype!r}: give a floating-point dtype.")

    double = jnp.dtype(dtype) == jnp.float64

    def to(leaf):
        kind = jnp.result_type(leaf)
        if jnp.issubdtype(kind, jnp.complexfloating):
            return jnp.asarray(leaf).astype(jnp.complex128 if double else jnp.complex64)
        return (
            jnp.asarray(leaf).astype(dtype)
            if jnp.issubdtype(kind, jnp.floating)
            else leaf
        )

    return jax.tree.map(to, tree)
