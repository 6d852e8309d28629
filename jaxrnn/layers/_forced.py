"""A cell whose steps start from states in data: the cell that `TeacherForcing` runs."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from .._arrays import expand_trailing
from .._layer import LinearCell
from .._wrapper import Wrapper


class ForcedInput(NamedTuple):
    """An input or its projection, the data, and whether the step is forced."""

    value: Any
    data: Any
    forced: Bool[Array, "*batch"] | None


@dataclass(frozen=True)
class Forced(Wrapper):
    """`cell` with the data of each step in its inputs."""

    alpha: float | None
    shown: str  # `explain` shows the layer as the user wrote it

    no_kernel = (
        "its kernels start a step from the cell's own state, and not from data; Hoisted() "
        "and Scan() can"
    )

    def __str__(self):
        return self.shown

    def recur(self, params, state, z):
        return self.cell.recur(params, self.start(state, z.data, z.forced), z.value)

    def start(self, state: Any, data: Any, forced: Any) -> Any:
        """The state that a step starts from."""

        def one(s, d):
            if d is None:
                return s
            own = s[..., : d.shape[-1]] if s.ndim else s
            mixed = (
                jnp.where(expand_trailing(forced, d.ndim), d, own)
                if self.alpha is None
                else self.alpha * d + (1 - self.alpha) * own
            )
            if mixed.shape == s.shape:
                return mixed
            return jnp.concatenate([mixed, s[..., d.shape[-1] :]], axis=-1)

        return jax.tree.map(one, state, data)


@dataclass(frozen=True)
class ForcedLinear(LinearCell, Forced):
    """`Forced` of a linear cell; it stays linear.

    With k s + f the state that a step starts from: s' = a (k s + f) + b.
    """

    cell: LinearCell

    def coefficients(self, params, z):
        a, b = self.cell.coefficients(params, z.value)
        like = jax.eval_shape(self.cell.initial_state, params)
        of = lambda fill, tree: jax.tree.map(
            lambda s: jnp.full(s.shape, fill, s.dtype), tree
        )
        k = self.start(of(1, like), of(0, z.data), z.forced)
        f = self.start(of(0, like), z.data, z.forced)
        b = jax.tree.map(lambda a, b, f: a * f + b, a, b, f)
        return jax.tree.map(jnp.multiply, a, k), b
