"""The division of units over the blocks of a cluster, and whether the weights fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp


ROWS = 64
"""Sequences of one tile: the rows of one wgmma instruction. Batches are padded to it."""

_BLOCKS = (8, 4, 2, 1)
"""Blocks of a cluster, the most first. 8 is the most that every GPU of the kind can launch
(CUDA C++ Programming Guide, "Thread Block Clusters")."""

_ATOM = 128
"""Bytes of one row of a swizzled tile, which is the unit of the loads and of wgmma."""

_SHARED = 232_448
"""Bytes of shared memory that a block may use for compute capability 9.0 (the same guide)."""

_RESERVED = 2048
"""Bytes that are left for barriers and for alignment."""

_MOST_COLUMNS = 256
"""Columns of one wgmma instruction."""


class DoesNotFit(NotImplementedError):
    """A recurrence is too large, or its sizes do not divide."""


@dataclass(frozen=True)
class Plan:
    """How a recurrence is divided.

    Attributes:
        hidden: the number of units `H`.
        blocks: the blocks of a cluster, which share the units.
        groups: the warpgroups (128 threads) of a block, which share its units.
        slots: the tiles of the operand that are in flight at a time.
        atom: columns of such a tile.
        tiles: tiles of 64 sequences, one cluster each.
        shared: bytes of shared memory that a block uses.
    """

    hidden: int
    blocks: int
    groups: int
    slots: int
    atom: int
    tiles: int
    shared: int

    @property
    def units(self) -> int:
        """The units of one warpgroup."""
        return self.hidden // (self.blocks * self.groups)

    @property
    def strip(self) -> int:
        """Units whose element-wise operations run at a time."""
        return 16 if self.units % 16 == 0 else 8

    @property
    def batch(self) -> int:
        """The number of sequences, padded to whole tiles."""
        return self.tiles * ROWS


def plan(
    batch: int,
    hidden: int,
    weights: Sequence[tuple[int, int]],
    dtype: Any,
    *,
    blocks: int | None = None,
) -> Plan:
    """Divides a recurrence over the blocks of a cluster.

    A block keeps the columns of every weight that make its own units, for the whole sequence:
    `k H x m U` numbers for a weight `(k H, m H)`, where `U` is `H` over the number of blocks.
    Two warpgroups share a block if the units divide, since their registers hold the values of
    a step.

    Args:
        batch: the number of sequences.
        hidden: the number of units `H`.
        weights: the shapes of the weights, `(k H, m H)`.
        dtype: the dtype of the weights.
        blocks: the blocks of a cluster; None takes the most that divide the units.

    Returns:
        The plan.

    Raises:
        DoesNotFit: if the units do not divide, or if the weights do not fit.

    Example:
        >>> from jaxrnn.kernels.pallas_gpu import plan
        >>> found = plan(16, 256, [(256, 1024)], "float32")
        >>> found.blocks, found.units, found.tiles
        (8, 16, 1)
    """
    size = jnp.dtype(dtype).itemsize
    atom = _ATOM // size
    if hidden % 64:
        raise DoesNotFit(
            f"the GPU kernel divides units in blocks of 64, and there are {hidden}; use a "
            "multiple of 64"
        )
    able = [n for n in _BLOCKS if hidden % n == 0 and (hidden // n) % 8 == 0]
    chosen = able[0] if blocks is None else blocks
    if chosen not in able:
        raise DoesNotFit(
            f"{hidden} units do not divide over {blocks} blocks: use {able}"
        )
    units = hidden // chosen
    groups = 2 if units % 16 == 0 else 1
    kept = sum(k * n // hidden * units for k, n in weights) * size
    staged = max((k // hidden for k, _ in weights), default=0) * ROWS * units * size
    room = _SHARED - _RESERVED - kept - staged
    most = max((k // atom for k, _ in weights), default=1)
    slots = min(most, 8, room // (ROWS * _ATOM))
    wide = max((n // hidden * units // groups for _, n in weights), default=0)
    if slots < 1 or wide > _MOST_COLUMNS:
        raise DoesNotFit(_too_large(hidden, weights, dtype, chosen, kept, staged, wide))
    shared = _RESERVED + kept + staged + slots * ROWS * _ATOM
    return Plan(hidden, chosen, groups, slots, atom, -(-batch // ROWS), shared)


def _too_large(hidden, weights, dtype, blocks, kept, staged, wide) -> str:
    shapes = ", ".join(f"({k}, {n})" for k, n in weights)
    if wide > _MOST_COLUMNS:
        return (
            f"each warpgroup of {blocks} blocks would multiply with {wide} columns of the "
            f"weights {shapes}, and one instruction takes {_MOST_COLUMNS}; use fewer units "
            f"than {hidden}"
        )
    return (
        f"each of {blocks} blocks would keep {kept} bytes of the weights {shapes} in "
        f"{jnp.dtype(dtype).name} and {staged + ROWS * _ATOM} bytes of operands, and has "
        f"{_SHARED - _RESERVED} bytes of shared memory; use fewer units than {hidden}"
        + ", or bfloat16"
        * (jnp.dtype(dtype).itemsize > 2)
    )
