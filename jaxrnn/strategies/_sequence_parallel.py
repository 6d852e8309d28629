"""Linear recurrences over sequences that are spread over devices, a stretch of time each.

The scheme of a parallel prefix sum with one level (Blelloch 1990): every device reduces its
own stretch to `state_out = decay * state_in + end`, all exchange these two, and each then
runs its stretch from the state that the ones before it lead to. As in the context
parallelism of RecurrentGemma (De et al. 2024, arXiv:2402.19427).
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
    """Time divided over an axis of a device mesh, for element-wise linear cells.

        every device:   decay = prod_t a_t,   end = scan(a, b) from zero
        one all-gather: (decay, end) of all devices, (n, B, h) each
        every device:   scan(a, b) from the state that the devices before it lead to

    Projection and readout run where their steps are, so no device ever holds the sequence;
    what is sent is one state and one decay for each device and row, whatever T is, and as
    much again backwards, beside the sum of the parameters' gradients. Each device scans its
    stretch twice. It pays where the sequence does not fit one device, or the layers around
    the recurrence are the cost.

    Args:
        mesh: the devices, its axes of the type Auto.
        axis: the mesh axis that time is divided over; T must be a multiple of its size.
        batch_axis: the mesh axis that the rows are divided over, if they are.

    Raises:
        TypeError, ValueError: for a mesh that is none, or has no such axis of that type.
        NotImplementedError: for a cell that is not a `LinearCell`, or sizes that the axes
            do not divide.

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
                "SequenceParallel: the axes of the mesh are of the type Explicit, so that "
                "parameters and states would all have to lie on it already. Make the mesh "
                "with axis_types=(jax.sharding.AxisType.Auto,) for each axis."
            )
        if self.axis == self.batch_axis:
            raise ValueError(
                f"SequenceParallel: time and rows are both divided over {self.axis!r}; "
                "give two axes."
            )

    def __str__(self):
        return f"SequenceParallel({dict(self.mesh.shape)}, axis={self.axis!r})"

    def check(self, cell, params, state, xs):
        if not isinstance(cell, LinearCell):
            raise Refused(
                self,
                cell,
                "it joins parts of the sequence by the decay over each part, and this is not "
                "a LinearCell",
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
                    "parts. Pad it; lengths keep the padding out of the answer.",
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
        """`local(params, state, sequence) -> (state, sequence)` on each device's part."""
        rows = PartitionSpec(self.batch_axis)
        steps = PartitionSpec(self.axis, self.batch_axis)
        return jax.shard_map(
            local,
            mesh=self.mesh,
            in_specs=(PartitionSpec(), rows, steps),
            out_specs=(rows, steps),
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
        """The array as one that each device has its own of, which loops must be told."""
        axes = (name for name in (self.axis, self.batch_axis) if name is not None)
        return x + jnp.asarray(0 * sum(map(jax.lax.axis_index, axes)), x.dtype)

    def _leaf(self, a: jax.Array, b: jax.Array, start: jax.Array, resets: Any) -> Any:
        """One array of the state: after the last step of all, and after each step here."""
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
            # selected, not multiplied by zero: what is cut off, or later, may be NaN
            kept = earlier if all_cuts is None else earlier & ~all_cuts[device]
            decay, state = (jnp.where(kept, x, 0) for x in (all_decays[device], into))
            onward = jnp.where(kept, decay * state, 0) + all_ends[device]
            into = jnp.where(earlier, onward, into)
        end, states = diag_scan(a, b, into, resets=resets)
        last = jax.lax.psum(jnp.where(here == number - 1, end, 0), self.axis)
        return last.astype(start.dtype), states.astype(start.dtype)
