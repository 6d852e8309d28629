"""Linear recurrences over sequences whose time axis is sharded over devices.

The scheme is a parallel prefix sum with one level (Blelloch 1990). Every device reduces its
part of the sequence to `state_out = decay * state_in + end`; all devices exchange `decay`
and `end`; each then runs its part from the state that the parts before it lead to.
RecurrentGemma does the same for context parallelism (De et al. 2024, arXiv:2402.19427).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, PartitionSpec

from .._arrays import expand_trailing
from .._layer import LinearCell, over_time_and_batch
from ..ops import diag_scan
from ._base import Refused, Strategy, accumulate_in_float32
from ._masked import resets_of


@dataclass(frozen=True)
class SequenceParallel(Strategy):
    """Shards time over an axis of a device mesh, for element-wise linear cells.

        every device:   decay = prod_t a_t,   end = scan(a, b) from zero
        one all-gather: (decay, end) of all devices, (n, B, h) each
        every device:   scan(a, b) from the state that the devices before it lead to

    Projection and readout run on the device that holds their steps, so no device ever holds
    the whole sequence. Communication does not depend on T: the forward pass sends one state
    and one decay for each device and sequence, and the backward pass sends as much again,
    plus the sum of the parameters' gradients. Each device scans its part twice. This pays
    if the sequence does not fit one device, or if the layers around the recurrence dominate
    the cost.

    Args:
        mesh: the device mesh, with axes of type Auto.
        axis: the mesh axis that time is sharded over; T must be a multiple of its size.
        batch_axis: the mesh axis that the batch is sharded over; None if it is replicated.

    Raises:
        TypeError, ValueError: if `mesh` is not a `Mesh`, or lacks a named axis, or has axes
            of type Explicit.
        NotImplementedError: if the cell is not a `LinearCell`, or if T or B is not a
            multiple of its axis size.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> auto = (jax.sharding.AxisType.Auto,)
        >>> mesh = jax.make_mesh((jax.device_count(),), ("time",), auto)
        >>> cell = jaxrnn.MinGRU(3, 4)
        >>> params, xs = cell.init(jax.random.key(0)), jnp.ones((64, 2, 3))
        >>> strategy = jaxrnn.SequenceParallel(mesh, "time")
        >>> state, ys = jaxrnn.unroll(cell, params, xs, strategy=strategy)
        >>> ys.shape
        (64, 2, 4)

    Reference: Blelloch 1990, "Prefix sums and their applications", CMU-CS-90-190; De et
    al. 2024, arXiv:2402.19427.
    """

    mesh: Mesh
    axis: str
    batch_axis: str | None = None

    def __post_init__(self):
        if not isinstance(self.mesh, Mesh):
            raise TypeError(
                f"SequenceParallel(mesh={self.mesh!r}): give a mesh of devices, such as "
                'jax.make_mesh((8,), ("time",), (jax.sharding.AxisType.Auto,)).'
            )
        for name in (self.axis, self.batch_axis):
            if name is not None and name not in self.mesh.axis_names:
                raise ValueError(
                    f"SequenceParallel: the mesh has no axis {name!r}; it has "
                    f"{', '.join(map(repr, self.mesh.axis_names))}."
                )
        if AxisType.Explicit in self.mesh.axis_types:
            raise ValueError(
                "SequenceParallel: the axes of the mesh are of type Explicit, which requires "
                "all parameters and states to be on the mesh already. Make the mesh with "
                "axis_types=(jax.sharding.AxisType.Auto,) for each axis."
            )
        if self.axis == self.batch_axis:
            raise ValueError(
                f"SequenceParallel: time and batch are both sharded over {self.axis!r}; "
                "give two axes."
            )

    def __str__(self):
        return f"SequenceParallel({dict(self.mesh.shape)}, axis={self.axis!r})"

    def check(self, cell, params, state, xs):
        if not isinstance(cell, LinearCell):
            raise Refused(
                self,
                cell,
                "it needs the decay over each part of the sequence, and the cell is not a "
                "LinearCell",
            )
        time, batch = jax.tree.leaves(xs)[0].shape[:2]
        for size, over, name in (
            (time, self.axis, "T"),
            (batch, self.batch_axis, "B"),
        ):
            if over is not None and size % self.mesh.shape[over]:
                raise Refused(
                    self,
                    cell,
                    f"{name}={size} cannot be divided into {self.mesh.shape[over]} equal "
                    "parts. Pad it, and give lengths to mask the padding.",
                )

    def run(self, cell, params, state, zs):
        def local(params, state, zs):
            return self._local(cell, params, state, zs)

        return self._mapped(local)(params, state, zs)

    def unroll(self, cell, params, state, xs):
        def local(params, state, xs):
            zs = over_time_and_batch(cell.project, params, xs)
            state, states = self._local(cell, params, state, zs)
            return state, over_time_and_batch(cell.readout, params, states, zs)

        return self._mapped(local)(params, state, xs)

    def _mapped(self, local):
        """Maps `local(params, state, sequence) -> (state, sequence)` over the devices."""
        states = PartitionSpec(self.batch_axis)
        steps = PartitionSpec(self.axis, self.batch_axis)
        # params are replicated: the transpose of shard_map sums their gradients over
        # devices
        return jax.shard_map(
            local,
            mesh=self.mesh,
            in_specs=(PartitionSpec(), states, steps),
            out_specs=(states, steps),
        )

    def _local(self, cell, params, state, zs):
        stored, narrow = accumulate_in_float32(params)
        coefficients = lambda params, z: cell.coefficients(narrow(params), z)
        a, b = over_time_and_batch(coefficients, stored, zs)
        a, b, start = (map(self._own, jax.tree.leaves(tree)) for tree in (a, b, state))
        resets = resets_of(zs)
        leaves = [self._leaf(*leaf, resets) for leaf in zip(a, b, start, strict=True)]
        structure = jax.tree.structure(state)
        after, states = (
            jax.tree.unflatten(structure, list(part))
            for part in zip(*leaves, strict=True)
        )
        return after, states

    def _own(self, x: jax.Array) -> jax.Array:
        """The array with a type that varies over the mesh axes, as a scan's carry needs."""
        # the index of the device varies over these axes, and so does a sum with it
        axes = (name for name in (self.axis, self.batch_axis) if name is not None)
        return x + jnp.asarray(0 * sum(map(jax.lax.axis_index, axes)), x.dtype)

    def _leaf(self, a: jax.Array, b: jax.Array, start: jax.Array, resets: Any) -> Any:
        """One leaf of the state: after the whole sequence, and after each step of this device.

        Every device gathers the decays and ends of all parts, and joins those before its
        own.
        """
        number, here = self.mesh.shape[self.axis], jax.lax.axis_index(self.axis)
        end, _ = diag_scan(a, b, resets=resets)
        a_wide, into = a.astype(end.dtype), start.astype(end.dtype)
        all_cuts = None
        if resets is not None:
            cut = expand_trailing(jnp.any(resets, axis=0), end.ndim)
            all_cuts = jax.lax.all_gather(cut, self.axis)
            a_wide = jnp.where(cut, 0, a_wide)
        gathered = jnp.stack([jnp.prod(a_wide, axis=0), end])
        all_decays, all_ends = jax.lax.all_gather(gathered, self.axis, axis=1)
        for device in range(number - 1):
            earlier = device < here
            # selected, not multiplied by zero: states that are cut off, and later ones, may
            # be NaN
            kept = earlier if all_cuts is None else earlier & ~all_cuts[device]
            decay, state = (jnp.where(kept, x, 0) for x in (all_decays[device], into))
            onward = jnp.where(kept, decay * state, 0) + all_ends[device]
            into = jnp.where(earlier, onward, into)
        end, states = diag_scan(a, b, into, resets=resets)
        # the last device has the final state; a sum with zeros sends it to the others
        last = jax.lax.psum(jnp.where(here == number - 1, end, 0), self.axis)
        return last.astype(start.dtype), states.astype(start.dtype)
