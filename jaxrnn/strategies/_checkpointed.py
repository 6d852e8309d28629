"""Backpropagation through time with O(sqrt T) memory.

Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost" (2016),
arXiv:1604.06174.
"""

import math
from dataclasses import dataclass
from functools import partial

import jax
from jax.ad_checkpoint import checkpoint_name

from .._validate import check_steps
from ._base import Plan, Strategy, accumulate_in_float32, check_inner
from ._blocks import scan_blocks
from .hoisted import Hoisted


_STATE = "the state before a chunk"

_TO_HOST = jax.checkpoint_policies.save_and_offload_only_these_names(
    names_which_can_be_saved=[],
    names_which_can_be_offloaded=[_STATE],
    offload_src="device",
    offload_dst="pinned_host",
)


@dataclass(frozen=True)
class Checkpointed(Strategy):
    r"""Stores every `every`-th state and recomputes the rest in the backward pass.

    The backward pass needs memory for T / every states and the residuals of one chunk:
    O(sqrt T) for `every = sqrt T`, where `Scan()` needs O(T). The cost is a second forward
    pass. A chunk contains its projection and readout. Levels nest:
    `Checkpointed(100, Checkpointed(10))`.

    Args:
        every: steps in a chunk; None takes a number near the square root of T, one that
            divides T if there is one, because a shorter last chunk is compiled separately.
        inner: the strategy that runs a chunk.
        offload: True keeps the states between chunks in host memory, if the device has
            memory of its own.

    Raises:
        TypeError, ValueError: if `every` is not a positive integer, or `inner` is not a
            strategy, or `inner` runs several layers in one loop, as `Wavefront` does: use
            `Wavefront(inner=...)`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.LSTM(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> def loss(params, strategy):
        ...     _, ys = jaxrnn.unroll(cell, params, jnp.ones((90, 2, 3)), strategy=strategy)
        ...     return (ys**2).sum()
        >>> whole = jax.grad(loss)(params, jaxrnn.Scan())
        >>> chunks = jax.grad(loss)(params, jaxrnn.Checkpointed(every=8))
        >>> bool(jnp.allclose(whole.u, chunks.u, atol=1e-4))
        True

    Reference: Chen et al. 2016, arXiv:1604.06174.
    """

    every: int | None = None
    inner: Strategy = Hoisted()
    offload: bool = False

    def __post_init__(self):
        check_steps(self, "every", "for about the square root of T")
        check_inner(self, "inner", self.inner)

    def plan(self, cell, params, state, xs):
        time, every = jax.tree.leaves(xs)[0].shape[0], self._every(xs)
        steps = lambda count: jax.tree.map(lambda x: x[:count], xs)
        inner = last = self.inner.plan(cell, params, state, steps(every))
        how = f"chunks of {every} steps, each by {inner.strategy}"
        if rest := time % every:  # shorter, so `Auto` may choose another strategy
            last = self.inner.plan(cell, params, state, steps(rest))
            how += f", and a last chunk of {rest} by {last.strategy}"
        return Plan(self, partial(self._run, inner, last), how, inner=inner)

    def unroll(self, cell, params, state, xs):
        return self.plan(cell, params, state, xs).unroll(params, state, xs)

    def _run(self, inner, last, params, state, xs):
        stored, narrow = accumulate_in_float32(params)

        def chunk(plan, state, xs):
            state = checkpoint_name(state, _STATE)
            return plan.unroll(narrow(stored), state, xs)

        # `prevent_cse` keeps the compiler from merging the two forward passes, but with
        # barriers that cost time; in a loop it cannot merge them anyway
        policy = _TO_HOST if self.offload else None
        in_loop = jax.checkpoint(
            partial(chunk, inner), prevent_cse=False, policy=policy
        )
        alone = jax.checkpoint(partial(chunk, last), policy=policy)
        return scan_blocks(in_loop, state, xs, self._every(xs), last=alone)

    def _every(self, xs):
        time = jax.tree.leaves(xs)[0].shape[0]
        return min(time, self.every or _about_sqrt(time))


def _about_sqrt(time: int) -> int:
    """A divisor of `time` within a factor of 2 of its root, a multiple of 8 if possible.

    `Hoisted`, the default inner strategy, runs blocks of 8 steps.
    """
    root = max(1.0, math.sqrt(time))
    near = [n for n in range(math.ceil(root / 2), int(2 * root) + 1) if time % n == 0]
    if not near:
        return max(1, math.isqrt(time))
    return min(near, key=lambda n: (n % 8 != 0, abs(math.log(n / root))))
