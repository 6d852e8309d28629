"""Equal cells in one loop: the layers of a stack, or the two directions of an RNN."""

from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._arrays import expand_trailing
from .._layer import Cell
from .._sharding import aligned
from ._base import Strategy, check_inner, unmasked
from ._masked import Masked, MaskedInput
from .hoisted import Hoisted


@dataclass(frozen=True)
class Wavefront(Strategy):
    """Runs a stack of L equal cells in T + L - 1 batched steps, and two directions in T.

    At step k of the loop, layer l runs its own step t = k - l:

        k:        0    1    2    3   ...
        layer 0   t=0  t=1  t=2  t=3
        layer 1        t=0  t=1  t=2
        layer 2             t=0  t=1

    so that the L matmuls of a step are one batched matmul. This applies to equal cells that
    follow each other in a `jaxrnn.Stack`, and to the two cells of a `jaxrnn.Bidirectional`;
    `inner` runs every other layer as usual. It pays where launching a matmul costs more
    than the matmul.

    Args:
        inner: the strategy that runs the loop.

    Raises:
        TypeError, ValueError: if `inner` is not a strategy, or if it runs several layers in
            one loop itself.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> model = jaxrnn.Stack((jaxrnn.GRU(4, 4),) * 3)
        >>> params = model.init(jax.random.key(0))
        >>> xs = jnp.ones((9, 2, 4))
        >>> _, ys = jaxrnn.unroll(model, params, xs, strategy=jaxrnn.Scan())
        >>> _, front = jaxrnn.unroll(model, params, xs, strategy=jaxrnn.Wavefront())
        >>> bool(jnp.allclose(ys, front, atol=1e-6))
        True

    Reference: Appleyard et al. 2016, arXiv:1604.01946, section 3.
    """

    inner: Strategy = Hoisted()

    joins_layers = True

    def __post_init__(self):
        check_inner(self, "inner", self.inner)

    def plan(self, cell, params, state, xs):
        return self.inner.plan(cell, params, state, xs)

    def unroll(self, cell, params, state, xs):
        return self.inner.unroll(cell, params, state, xs)

    def joined(self, layers):
        first = layers[0]
        if not isinstance(first, Cell):
            return 1
        return len(list(takewhile(lambda layer: layer == first, layers)))

    def unroll_stack(self, cell, params, states, xs, context):
        time, batch = jax.tree.leaves(xs)[0].shape[:2]
        count = len(params)
        valid = context.valid
        valid = jnp.ones((time, batch), bool) if valid is None else valid
        resets = None if context.resets is None else _skewed(context.resets, count)
        later = lambda x: jnp.pad(x, [(0, count - 1)] + [(0, 0)] * (x.ndim - 1))
        inputs = MaskedInput(jax.tree.map(later, xs), _skewed(valid, count), resets)
        state, params = _stack(states, 1), _stack(params)
        cell_of_all = WavefrontCell(Masked(cell), count)
        x = jax.tree.map(lambda x: x[0], inputs)
        y = jax.eval_shape(jax.vmap(partial(cell_of_all.outputs, params)), state, x)
        nothing = jax.tree.map(lambda y: jnp.zeros(y.shape, y.dtype), y)
        nothing = aligned(nothing, inputs)
        state, ys = self._loop(
            cell_of_all, params, WavefrontState(state, nothing), inputs, context
        )
        ys = jax.tree.map(lambda y: y[count - 1 :], ys)
        return _unstack(state.states, count), ys

    def unroll_side_by_side(self, cell, params, states, xs, contexts):
        """Runs cells that do not read each other; `xs` and `contexts` have one for each."""
        context, count = contexts[0], len(params)
        masks = [(c.valid, c.resets) for c in contexts]
        inputs = MaskedInput(_stack(xs, 2), *_stack(masks, 2))
        plain = inputs.valid is None and inputs.reset is None
        side = BatchedCells(cell) if plain else BatchedCells(Masked(cell))
        state, ys = self._loop(
            side,
            _stack(params),
            _stack(states, 1),
            inputs.value if plain else inputs,
            context,
        )
        of = lambda i: jax.tree.map(lambda y: y[:, :, i], ys)
        return _unstack(state, count), tuple(map(of, range(count)))

    def _loop(self, cell, params, state, xs, context):
        # lengths and resets are in the masks of the inputs already
        context = context._replace(valid=None, cuts=None)
        return self.inner(cell, params, state, xs, context)


class WavefrontState(NamedTuple):
    """The state of a wavefront: the states of all layers, and their latest outputs."""

    states: Any
    ys: Any


@dataclass(frozen=True)
class WavefrontCell(Cell):
    """A stack of layers as one cell, each layer one time step behind the layer below it.

    Params and states have an axis of layers in front. The input is the lowest layer's, with
    masks for every layer.
    """

    cell: Masked
    count: int

    def __str__(self):
        return f"wavefront of {self.count} times {self.cell.cell}"

    def init(self, key):
        return jax.vmap(self.cell.init)(jax.random.split(key, self.count))

    def initial_state(self, params):
        raise NotImplementedError(
            "a wavefront has no initial state; it starts from the states of its layers"
        )

    def project(self, params, x):
        lowest = jax.tree.map(lambda p: p[0], params)
        return self.cell.project(lowest, x)

    def recur(self, params, state, z):
        zs = self._inputs(params, state, z)
        after = jax.vmap(self.cell.recur)(params, state.states, zs)
        # the output of a layer that takes no step is not used, but its state may be NaN,
        # and zero times NaN is NaN in the gradient: compute it from the initial state
        start = jax.vmap(self.cell.initial_state)(params)
        shown = _where(zs.valid, after, start)
        return WavefrontState(after, jax.vmap(self.cell.readout)(params, shown, zs))

    def readout(self, params, state, z):
        return jax.tree.map(lambda y: y[-1], state.ys)

    def _inputs(self, params, state, z):
        """The projected input of every layer: z for the lowest, and for each other layer
        the projection of the output that the layer below it had one step ago."""
        above = jax.tree.map(lambda p: p[1:], params)
        below = jax.tree.map(lambda y: y[:-1], state.ys)
        projected = jax.vmap(self.cell.cell.project)(above, below)
        joined = lambda first, rest: jnp.concatenate([first[None], rest])
        return z._replace(value=jax.tree.map(joined, z.value, projected))

    def outputs(self, params, states, x):
        """The outputs of all layers if each read the lowest layer's input; for shapes."""
        z = jax.vmap(self.cell.cell.project, (0, None))(params, x.value)
        return jax.vmap(self.cell.readout)(params, states, x._replace(value=z))


@dataclass(frozen=True)
class BatchedCells(Cell):
    """Equal cells that do not read each other, as one cell; arrays have them in front."""

    cell: Cell

    def __str__(self):
        return f"side by side, {unmasked(self.cell)}"

    def init(self, key):
        return jax.vmap(self.cell.init)(key)

    def initial_state(self, params):
        return jax.vmap(self.cell.initial_state)(params)

    def project(self, params, x):
        return jax.vmap(self.cell.project)(params, x)

    def recur(self, params, state, z):
        return jax.vmap(self.cell.recur)(params, state, z)

    def readout(self, params, state, z):
        return jax.vmap(self.cell.readout)(params, state, z)


def _where(mask: jax.Array, yes: Any, no: Any) -> Any:
    """Selects `yes` or `no` for every layer; the mask is `(count,)`."""
    return jax.tree.map(
        lambda y, n: jnp.where(expand_trailing(mask, y.ndim), y, n), yes, no
    )


def _skewed(mask: jax.Array, count: int) -> jax.Array:
    """`(T, B)` as `(T + count - 1, B, count)`: a copy for each layer, each a step later."""
    rows = [jnp.pad(mask, [(i, count - 1 - i), (0, 0)]) for i in range(count)]
    return jnp.stack(rows, -1)


def _stack(trees: Any, axis: int = 0) -> Any:
    """Trees of the same structure as one tree, stacked along a new axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *trees)


def _unstack(state: Any, count: int) -> tuple[Any, ...]:
    """The inverse of `_stack`, for states `(B, count, ...)`."""
    return tuple(jax.tree.map(lambda s, i=i: s[:, i], state) for i in range(count))
