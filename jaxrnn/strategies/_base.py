"""What a strategy is: one way to execute `states[t] = recur(states[t-1], zs[t])`."""

import abc
import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp

from .._layer import Cell, Context, Executor, Static, every_step
from ._masked import Masked, MaskedLinear, masked


@dataclass(frozen=True)
class Choice:
    """Which strategy runs a recurrence, and why each other candidate does not."""

    strategy: "Strategy"
    passed_over: tuple[tuple["Strategy", str], ...] = ()


@dataclass(frozen=True)
class Decision:
    """A choice as it was made: for which cell, over how many steps and rows, how and where."""

    cell: Cell
    time: int
    batch: int
    choice: Choice
    how: str = ""
    platform: str = ""


_platform: ContextVar[str | None] = ContextVar("platform", default=None)


def platform() -> str | None:
    """The platform that is being decided for: "cpu", "gpu" or "tpu".

    None while a program is traced, which may be lowered for any platform.
    """
    return _platform.get()


def default_platform() -> str:
    """The platform of the device that JAX would use."""
    config: Any = jax.config
    device = config.jax_default_device or jax.default_backend()
    name = getattr(device, "platform", device)
    return "gpu" if name in ("cuda", "rocm") else name


@contextlib.contextmanager
def on_platform(name: str | None) -> Iterator[None]:
    """Decisions inside are those of this platform; None for any."""
    token = _platform.set(name)
    try:
        yield
    finally:
        _platform.reset(token)


_decisions: ContextVar[list[Decision] | None] = ContextVar("decisions", default=None)


@contextlib.contextmanager
def recorded_decisions() -> Iterator[list[Decision]]:
    """Collects the decision of every recurrence that is traced inside."""
    decisions: list[Decision] = []
    token = _decisions.set(decisions)
    try:
        yield decisions
    finally:
        _decisions.reset(token)


class Strategy(Static, Executor):
    """How a recurrence is executed. May change cost; never values nor gradients.

    A variant gives `run`, and `check` if there are cells that it cannot serve. One that
    owns the projection and the readout as well replaces `unroll`.

    Attributes:
        symbolic: whether it runs where T or B are symbols of `jax.export`, not numbers.
    """

    symbolic: ClassVar[bool] = False

    @abc.abstractmethod
    def run(self, cell: Cell, params: Any, state: Any, zs: Any) -> tuple[Any, Any]:
        """The state after the last step, and the states after every step.

        Args:
            cell: the recurrence, of one example and one step.
            params: its parameters.
            state: leaves `(B, ...)`.
            zs: what the cell projected, leaves `(T, B, ...)`.
        """

    def check(self, cell: Cell, params: Any, state: Any, xs: Any) -> None:
        """Raises NotImplementedError, with the reason, for a cell it cannot serve."""
        del cell, params, state, xs

    def advise(self, cell: Cell, params: Any, state: Any, xs: Any) -> str:
        """Why `Auto` should pass it over for this cell, which it could serve."""
        del cell, params, state, xs
        return ""

    def describe(self, cell: Cell, params: Any, state: Any, xs: Any) -> str:
        """How it would run this cell, where there is something to say."""
        del cell, params, state, xs
        return ""

    def unroll(self, cell: Cell, params: Any, xs: Any, state: Any) -> tuple[Any, Any]:
        """Projection, recurrence and readout: `(state, ys)`."""
        zs = every_step(cell.project, params, xs)
        state, states = self.run(cell, params, state, zs)
        return state, every_step(cell.readout, params, states, zs)

    def select(self, cell: Cell, params: Any, state: Any, xs: Any) -> Choice:
        """The strategy that runs this cell: itself, unless it delegates."""
        self.check(cell, params, state, xs)
        return Choice(self)

    @final
    def __call__(
        self, cell: Cell, params: Any, xs: Any, state: Any, context: Context
    ) -> tuple[Any, Any]:
        cell, xs = masked(cell, xs, context)
        if not self.symbolic and not has_sizes(xs):
            raise NotImplementedError(
                f"{self} plans its work by the numbers T and B, and one of them is a "
                "symbol here. Give strategy=jaxrnn.Scan() or jaxrnn.Auto()."
            )
        self.check(cell, params, state, xs)
        decisions = _decisions.get()
        if decisions is not None:
            choice = self.select(cell, params, state, xs)
            time, batch = jax.tree.leaves(xs)[0].shape[:2]
            how = choice.strategy.describe(cell, params, state, xs)
            decisions.append(
                Decision(unmasked(cell), time, batch, choice, how, platform() or "")
            )
        return self.unroll(cell, params, xs, state)


def has_sizes(xs: Any) -> bool:
    """Whether T and B are numbers, and not symbols of `jax.export`."""
    return all(isinstance(size, int) for size in jax.tree.leaves(xs)[0].shape[:2])


def unmasked(cell: Cell) -> Cell:
    """The cell as its author wrote it."""
    return cell.cell if isinstance(cell, Masked | MaskedLinear) else cell


def wide(params: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Params as float32 where they are narrower, and the way back.

    A loop that closes over the wide ones and narrows them inside adds up their gradients
    in float32. The values do not change: both casts are exact.
    """
    dtypes = jax.tree.map(lambda p: p.dtype, params)

    def widen(p: jax.Array) -> jax.Array:
        narrow = jnp.issubdtype(p.dtype, jnp.floating) and p.dtype.itemsize < 4
        return p.astype(jnp.float32) if narrow else p

    def back(params: Any) -> Any:
        return jax.tree.map(lambda p, dtype: p.astype(dtype), params, dtypes)

    return jax.tree.map(widen, params), back


def check_strategy(strategy: Any) -> None:
    """A strategy object."""
    if not isinstance(strategy, Strategy):
        raise TypeError(
            f"strategy is {strategy!r}; give an object, such as jaxrnn.Scan() "
            "or jaxrnn.Checkpointed(every=32)."
        )


def check_platform(platform):
    """One of JAX's platforms, or None."""
    if platform not in (None, "cpu", "gpu", "tpu"):
        raise ValueError(
            f'platform is {platform!r}; give "cpu", "gpu" or "tpu", or None for the one '
            "that JAX would use."
        )
