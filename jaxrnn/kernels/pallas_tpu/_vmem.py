"""How many bytes of VMEM a scan takes, and how many time steps fit in a block.

VMEM holds 128 MiB on TPU v5e and v6e. An array there is stored in tiles of 128 lanes and of
8, 16 or 32 sublanes, for elements of 4, 2 or 1 bytes; its last two axes are padded to whole
tiles.
"""

import math
from collections.abc import Sequence
from typing import Any


CAPACITY = 120 * 2**20
"""The bytes that a kernel may use: the VMEM of a v5e or v6e, less a reserve for the
compiler's own buffers."""

_STREAM = 8 * 2**20
"""The bytes that the buffers of the sequences should take. Larger blocks of time steps
hide no more of the transfers."""

_MOST = 32
"""The largest number of time steps in a block."""


class DoesNotFit(ValueError):
    """The arrays of a kernel are larger than VMEM."""


def padded_bytes(shape: Sequence[int], dtype: Any) -> int:
    """The bytes of an array in VMEM, padded to whole tiles."""
    rows, columns = (1, 1, *shape)[-2:]
    sublanes = 8 * max(1, 4 // dtype.itemsize)
    tiles = math.ceil(rows / sublanes) * math.ceil(columns / 128)
    return math.prod(shape[:-2]) * tiles * sublanes * 128 * dtype.itemsize


def total_bytes(arrays: Sequence[Any]) -> int:
    """The bytes of several arrays, each with a shape and a dtype."""
    return sum(padded_bytes(a.shape, a.dtype) for a in arrays)


def steps_in_block(
    time: int,
    resident: Sequence[Any],
    streamed: Sequence[Any],
    temporaries: Sequence[Any],
) -> tuple[int, int]:
    """The number of time steps in a block, and the bytes of VMEM that the kernel needs.

    Args:
        time: the number of time steps.
        resident: arrays that stay in VMEM: constants and the carry.
        streamed: arrays of one time step that are read or written, each in two buffers.
        temporaries: the intermediate values of a step.

    Raises:
        DoesNotFit: if there is no room for a single time step.
    """
    fixed = total_bytes(resident) + total_bytes(temporaries)
    step = 2 * total_bytes(streamed)
    room = min(_STREAM, CAPACITY - fixed)
    steps = min(time, _MOST, room // max(1, step))
    if steps < 1 and fixed + step > CAPACITY:
        raise DoesNotFit(
            f"its arrays take {(fixed + step) / 2**20:.0f} MiB of VMEM, and "
            f"{CAPACITY // 2**20} MiB can be used"
        )
    steps = max(1, steps)
    # a divisor of the time leaves no shorter last block
    near = range(steps, steps // 2, -1)
    steps = next((s for s in near if time % s == 0), steps)
    return steps, fixed + steps * step
