"""Truncated backpropagation through time. Williams & Peng 1990."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._arrays import expand_trailing, state_dtype
from .._unroll import unroll
from .._validate import check_sizes
from ._base import Method, Target, Update, where
from ._whole import Batch, added


class Window(NamedTuple):
    """The last k2 steps, time first: the state before each, inputs, and dL / dy.

    `real` is False at steps before the first one and at skipped ones.
    """

    states: Any
    xs: Any
    errors: Any
    resets: jax.Array
    real: jax.Array


class TBPTTTrace(NamedTuple):
    """The window, and the number of steps so far."""

    window: Window
    steps: jax.Array


@dataclass(frozen=True)
class TBPTT(Method):
    """Truncated backpropagation through time: every k1 steps, back over the last k2.

        grads at step n k1 = d/d params of the losses of the last k1 steps,
                             through the last k2 steps, from the state before them

    Every loss counts once, and its gradient goes back at least k2 - k1 + 1 steps; the state
    is carried on. With k2 at least T, the gradient is that of `BPTT`. Over a whole sequence,
    the first block is the shorter one if k1 does not divide T. Online, the gradient is zero
    except in every k1-th step.

    Online, give `reset=True` in the first step if the initial state is learned; otherwise the
    state before the window is a constant.

    Costs: k2 states, and k2 / k1 backward passes of a step for every step.

    Args:
        k1: the steps between gradients.
        k2: the steps that a gradient goes back, at least k1; None for k1.

    Raises:
        TypeError: if k1 or k2 is not an integer.
        ValueError: if k1 is below 1, or k2 below k1.

    Reference: Williams & Peng 1990, doi:10.1162/neco.1990.2.4.490.
    """

    k1: int
    k2: int | None = None

    def __post_init__(self):
        check_sizes(self, "k1", *(["k2"] if self.k2 is not None else []))
        if self._back < self.k1:
            raise ValueError(
                f"{self}: a gradient that goes back fewer steps than there are between two "
                "would leave losses out. Give k2 of at least k1."
            )

    @property
    def _back(self) -> int:
        return self.k1 if self.k2 is None else self.k2

    def init(self, layer, params, x, *, key=None):
        state = layer.initial_state(params)
        y = jax.eval_shape(layer.step, params, state, x)[1]
        repeated = lambda v: jnp.zeros((self._back, *v.shape), v.dtype)
        states = jax.tree.map(
            lambda s: jnp.broadcast_to(s, (self._back, *s.shape)), state
        )
        no = jnp.zeros(self._back, bool)
        empty_x, empty_y = jax.tree.map(repeated, (x, y))
        window = Window(states, empty_x, empty_y, no, no)
        return TBPTTTrace(window, jnp.zeros((), jnp.int32))

    def update(
        self, layer, step_loss, params, trace, state, x, target, *, reset=None, valid=None
    ):  # fmt: skip
        reset = jnp.asarray(False if reset is None else reset)
        valid = jnp.asarray(True if valid is None else valid)
        x, target = where(valid, (x, target), jax.tree.map(jnp.zeros_like, (x, target)))
        start = where(reset & valid, layer.reset_state(params, state), state)
        new, y = layer.step(params, start, x)
        loss, error = Target(step_loss, target).error(y)
        now = Window(state, x, error, reset & valid, valid)
        window = jax.tree.map(
            lambda old, new: jnp.roll(old, -1, 0).at[-1].set(new), trace.window, now
        )
        count = trace.steps + 1
        due = count % self.k1 == 0
        nothing = jax.tree.map(jnp.zeros_like, params)
        add_batch = lambda tree: jax.tree.map(lambda v: v[:, None], tree)
        grads = jax.lax.cond(
            due,
            lambda: self._gradient(layer, params, add_batch(window)),
            lambda: nothing,
        )
        loss = jnp.where(valid, loss, jnp.zeros_like(loss))
        return Update(TBPTTTrace(window, count), where(valid, new, state), loss, grads)

    def _gradient(self, layer: Any, params: Any, window: Window) -> Any:
        """The gradient of the losses of the last k1 steps; leaves `(k2, B, ...)`."""
        start = jax.tree.map(lambda s: s[0], window.states)

        def loss(params: Any) -> jax.Array:
            _, ys = unroll(
                layer, params, window.xs, start, mask=window.real, resets=window.resets
            )
            last = lambda v: v[self._back - self.k1 :]
            # the real part: JAX's gradient by a complex output is a conjugate
            each = jax.tree.map(
                lambda e, y: (last(e) * last(y)).real, window.errors, ys
            )
            wide = [v.astype(state_dtype(v)).sum() for v in jax.tree.leaves(each)]
            return sum(wide[1:], wide[0])

        return jax.grad(loss)(params)

    def whole(self, batch: Batch) -> tuple[jax.Array, Any, Any]:
        """`(value, grads, state)` of a batch, a block of k1 steps after the other."""
        layer, params = batch.layer, batch.params

        def step(state: Any, inputs: Any) -> Any:
            x, target, reset, real = inputs
            start = where_rows(reset, _fresh(layer, params, state), state)
            new, y = jax.vmap(layer.step, (None, 0, 0))(params, start, x)
            error = lambda y, target: Target(batch.step_loss, target).error(y)
            loss, error = jax.vmap(error)(y, target)
            loss = jnp.where(real, loss, jnp.zeros_like(loss))
            now = Window(state, x, error, reset, real)
            return where_rows(real, new, state), (now, loss)

        def block(carry: Any, inputs: Any) -> Any:
            state, window, sums = carry
            state, (now, losses) = jax.lax.scan(step, state, inputs)
            keep = lambda old, new: jnp.concatenate([old, new])[-self._back :]
            window = jax.tree.map(keep, window, now)
            grads = self._gradient(layer, params, window)
            one = jax.tree.map(lambda v: v[None], (losses.sum(), grads))
            return (state, window, added(sums, one)), None

        start = (batch.state, self._empty(batch), batch.no_sums())
        (state, _, (loss, grads)), _ = jax.lax.scan(block, start, self._blocks(batch))
        return batch.mean(loss), batch.mean_grads(grads), state

    def _blocks(self, batch: Batch) -> tuple[Any, Any, Any, Any]:
        """Inputs, targets, resets and which steps are real, `(blocks, k1, B, ...)`.

        Steps that are not real fill the first block up.
        """
        shape = jax.tree.leaves(batch.xs)[0].shape[:2]
        real = jnp.ones(shape, bool) if batch.valid is None else batch.valid
        resets = jnp.zeros(shape, bool) if batch.resets is None else batch.resets & real
        if batch.is_initial:  # its gradient reaches the params of the initial state
            resets = resets.at[0].set(real[0])
        clean = lambda v: jnp.where(expand_trailing(real, v.ndim), v, jnp.zeros_like(v))
        xs, targets = jax.tree.map(clean, (batch.xs, batch.targets))

        def blocks(v: jax.Array) -> jax.Array:
            fill = jnp.zeros((-shape[0] % self.k1, *v.shape[1:]), v.dtype)
            return jnp.concatenate([fill, v]).reshape(-1, self.k1, *v.shape[1:])

        return jax.tree.map(blocks, (xs, targets, resets, real))

    def _empty(self, batch: Batch) -> Window:
        """The window before the first step of each sequence, leaves `(k2, B, ...)`."""
        x = jax.tree.map(lambda v: v[0, 0], batch.xs)
        size = jax.tree.leaves(batch.xs)[0].shape[1]
        one = self.init(batch.layer, batch.params, x).window
        window = jax.vmap(lambda _: one, out_axes=1)(jnp.arange(size))
        repeated = lambda s: jnp.broadcast_to(s, (self._back, *s.shape))
        return window._replace(states=jax.tree.map(repeated, batch.state))


def where_rows(which: jax.Array, yes: Any, no: Any) -> Any:
    """`yes` or `no` for each sequence of a batch; `which` is `(B,)`."""
    chosen = lambda yes, no: jnp.where(expand_trailing(which, no.ndim), yes, no)
    return jax.tree.map(chosen, yes, no)


def _fresh(layer: Any, params: Any, state: Any) -> Any:
    return jax.vmap(lambda state: layer.reset_state(params, state))(state)
