"""Linear and matrix recurrences, a chunk of steps at a time."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .._layer import LinearCell, MatrixCell, StepMask, over_time_and_batch
from ..ops._linear_attention import OUTPUTS
from ._associative import run_linear
from ._base import Refused, Strategy, accumulate_in_float32
from ._scan import Scan


# what matrices were asked is kept: to compute it again would take a chunk twice, since the
# derivative of a chunk computes it as well
_OUTPUTS = jax.checkpoint_policies.save_only_these_names(OUTPUTS)

_SIZE = 64
_ROWS = 256  # that make one product of a projection


@dataclass(frozen=True)
class Chunked(Strategy):
    """In sequence over chunks, all steps of a chunk together.

    A matrix cell runs a chunk as matrix products, so that no state is stored but the one
    before each chunk; where a number is not finite, steps run in turn. A linear cell has its
    projection, its coefficients and its outputs made for a chunk at a time, while they are in
    the cache; the recurrence itself runs step by step on a CPU, and by doubling elsewhere. A
    chunk is computed again backwards.

    When it pays, in ms on 2 CPU cores, forward / forward and backward, against `Scan()`:

    | cell            | T, B, features     | `Scan()`   | `Chunked()` |
    |-----------------|--------------------|------------|-------------|
    | `MinGRU`        | 2048, 8, 256       | 60 / 85    | 18 / 71     |
    | `SRU`           |                    | 55 / 123   | 23 / 98     |
    | `RGLRU`         |                    | 18 / 79    | 17 / 73     |
    | `LRU`           |                    | 38 / 118   | 31 / 116    |
    | `MLSTM`         | 4096, 1, 4 heads   | 54 / 680   | 16 / 85     |
    | `SSD`           | of 64              | 62 / 470   | 15 / 65     |
    | `GLA`           |                    | 30 / 414   | 19 / 86     |
    | `DeltaNet`      |                    | 55 / 611   | 22 / 125    |
    | `GatedDeltaNet` |                    | 59 / 656   | 25 / 116    |
    | `MLSTM`         | 4096, 1, 4 heads   | 147 / 2374 | 47 / 226    |
    | `SSD`           | of 128             | 190 / 1762 | 39 / 175    |
    | `GLA`           |                    | 90 / 1385  | 49 / 208    |
    | `DeltaNet`      |                    | 165 / 2038 | 58 / 247    |
    | `GatedDeltaNet` |                    | 186 / 2317 | 71 / 291    |

    By `python -m benchmarks run --suite strategies`, where memory that is freed is kept; by
    glibc's defaults `Scan()` takes up to three times as long. A third to a half of a matrix
    cell's forward pass are the projections, which both share. It was not measured on a GPU.

    Args:
        size: steps in a chunk; None takes 64, at which most was fastest, and for a matrix
            cell as many times 64 as project 256 rows together, since its chunks are run in
            pieces of 64 steps.

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
        if self.size is not None and (
            not isinstance(self.size, int)
            or isinstance(self.size, bool)
            or self.size < 1
        ):
            raise ValueError(
                f"Chunked(size={self.size!r}): `size` is a number of steps, an integer of "
                "at least 1; or None, for the size that was measured to be good."
            )

    def check(self, cell, params, state, xs):
        if not isinstance(cell, LinearCell | MatrixCell):
            raise Refused(self, cell, "it is neither a LinearCell nor a MatrixCell")

    def run(self, cell, params, state, zs):
        if isinstance(cell, LinearCell):
            return run_linear(cell, params, state, zs)
        return Scan().run(cell, params, state, zs)  # every state is asked for

    def unroll(self, cell, params, state, xs):
        chunk = _linear_chunk if isinstance(cell, LinearCell) else _matrix_chunk
        time, batch = jax.tree.leaves(xs)[0].shape[:2]
        # a matrix cell runs longer ones piece by piece, and projects more rows at once
        several = (
            1 if isinstance(cell, LinearCell) else max(1, _ROWS // (_SIZE * batch))
        )
        size = min(time, self.size or several * _SIZE)
        whole = time - time % size
        stored, narrow = accumulate_in_float32(params)

        @partial(jax.checkpoint, policy=_OUTPUTS)
        def body(state, xs):
            return chunk(cell, narrow(stored), state, xs)

        folded = jax.tree.map(
            lambda x: x[:whole].reshape(whole // size, size, *x.shape[1:]), xs
        )
        state, ys = jax.lax.scan(body, state, folded)
        ys = jax.tree.map(lambda y: y.reshape(whole, *y.shape[2:]), ys)
        if whole == time:
            return state, ys
        state, rest = body(state, jax.tree.map(lambda x: x[whole:], xs))
        return state, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), ys, rest)


def _linear_chunk(cell: Any, params: Any, state: Any, xs: Any) -> tuple[Any, Any]:
    zs = over_time_and_batch(cell.project, params, xs)
    state, states = run_linear(cell, params, state, zs)
    return state, over_time_and_batch(cell.readout, params, states, zs)


def _matrix_chunk(cell: Any, params: Any, state: Any, xs: Any) -> tuple[Any, Any]:
    zs = over_time_and_batch(cell.project, params, xs)
    rows = jax.vmap(
        lambda state, zs: cell.chunk(params, state, zs, StepMask()),
        in_axes=(0, 1),
        out_axes=(0, 1),
    )
    return rows(state, zs)
