"""Linear and matrix recurrences in chunks of time steps."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from .._layer import LinearCell, MatrixCell, StepMask, over_time_and_batch
from .._validate import check_steps
from ..ops._linear_attention import OUTPUTS
from ._associative import run_linear
from ._base import Refused, Strategy, accumulate_in_float32
from ._blocks import scan_blocks
from ._scan import Scan


# the backward pass of a matrix chunk recomputes the chunk. Saving its outputs for the
# readout keeps `jax.checkpoint` from running the chunk a second time.
_OUTPUTS = jax.checkpoint_policies.save_only_these_names(OUTPUTS)

_SIZE = 64  # steps
_ROWS = 256  # rows (steps times batch size) that a projection of one chunk should have


@dataclass(frozen=True)
class Chunked(Strategy):
    """Scans over chunks of time steps, and computes the steps of a chunk together.

    A matrix cell runs a chunk as matmuls, so that only the state before each chunk is
    stored; if a number is not finite, the chunk runs step by step. A linear cell computes
    projection, coefficients and outputs one chunk at a time, while they are in the cache;
    its recurrence runs step by step on a CPU and as a parallel scan elsewhere. The backward
    pass recomputes each chunk.

    On a CPU it pays for all linear and matrix cells, and most for gradients of matrix cells
    over long sequences (measured in docs/measured.md).

    Args:
        size: steps in a chunk. None takes 64, the fastest in most measurements; for a
            matrix cell with a small batch, a multiple of 64 for which a projection has at
            least 256 rows (steps times batch size). Matrix cells split each chunk into
            pieces of 64.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.MinGRU(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> xs = jnp.ones((5, 2, 3))
        >>> state, ys = jaxrnn.unroll(cell, params, xs, strategy=jaxrnn.Chunked(size=2))
        >>> ys.shape
        (5, 2, 4)

    Reference: Hua, Dai, Liu, Le 2022, arXiv:2202.10447, section 3.3; Yang et al. 2024,
    arXiv:2312.06635.
    """

    size: int | None = None

    def __post_init__(self):
        check_steps(self, "size", "for a size that is fast in most cases")

    def check(self, cell, params, state, xs):
        if not isinstance(cell, LinearCell | MatrixCell):
            raise Refused(self, cell, "it is neither a LinearCell nor a MatrixCell")

    def run(self, cell, params, state, zs):
        if isinstance(cell, LinearCell):
            return run_linear(cell, params, state, zs)
        # `run` must return the state after every step, which chunks of matrices do not have
        return Scan().run(cell, params, state, zs)

    def unroll(self, cell, params, state, xs):
        chunk = _linear_chunk if isinstance(cell, LinearCell) else _matrix_chunk
        time, batch = jax.tree.leaves(xs)[0].shape[:2]
        # a matrix cell splits its chunks itself; longer ones give its projection more rows
        several = (
            1 if isinstance(cell, LinearCell) else max(1, _ROWS // (_SIZE * batch))
        )
        size = min(time, self.size or several * _SIZE)
        stored, narrow = accumulate_in_float32(params)

        @partial(jax.checkpoint, policy=_OUTPUTS)
        def body(state, xs):
            return chunk(cell, narrow(stored), state, xs)

        return scan_blocks(body, state, xs, size)


def _linear_chunk(cell: Any, params: Any, state: Any, xs: Any) -> tuple[Any, Any]:
    zs = over_time_and_batch(cell.project, params, xs)
    state, states = run_linear(cell, params, state, zs)
    return state, over_time_and_batch(cell.readout, params, states, zs)


def _matrix_chunk(cell: Any, params: Any, state: Any, xs: Any) -> tuple[Any, Any]:
    zs = over_time_and_batch(cell.project, params, xs)
    over_batch = jax.vmap(
        lambda state, zs: cell.chunk(params, state, zs, StepMask()),
        in_axes=(0, 1),
        out_axes=(0, 1),
    )
    return over_batch(state, zs)
