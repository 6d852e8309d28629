"""The base class of strategies, which execute `states[t] = recur(states[t-1], zs[t])`."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp

from .._layer import Cell, Context, Executor, Static, over_time_and_batch
from .._validate import described
from ._masked import Masked, MaskedLinear, masked
from ._platform import platform


class Refused(NotImplementedError):
    """A strategy cannot run a cell."""

    def __init__(self, strategy: Any, cell: Any, reason: str) -> None:
        # pickle calls the constructor with these arguments, not with a message
        super().__init__(strategy, cell, reason)
        self.reason = reason

    def __str__(self) -> str:
        strategy, cell, reason = self.args
        return f"{strategy} cannot run {unmasked(cell)}: {reason}"


@dataclass(frozen=True, eq=False)
class Plan:
    """A plan to run one recurrence.

    Attributes:
        strategy: the strategy that runs it.
        unroll: `(params, state, xs) -> (state, ys)`.
        how: a description that `explain` shows after the strategy; may be empty.
        skip: a reason for `Auto` to skip this strategy although it accepts the cell; empty
            to use it.
        inner: the plan of the strategy that runs the parts; None if there are none.
        passed_over: the candidates of `Auto` before this one, with the reasons.
        evidence: where `Auto`'s choice comes from, on platforms other than a CPU.
    """

    strategy: "Strategy"
    unroll: Callable[[Any, Any, Any], tuple[Any, Any]]
    how: str = ""
    skip: str = ""
    inner: "Plan | None" = None
    passed_over: tuple[tuple["Strategy", str], ...] = ()
    evidence: str = ""

    @property
    def innermost(self) -> "Strategy":
        """The strategy whose program is finally lowered."""
        return self.strategy if self.inner is None else self.inner.innermost


@dataclass(frozen=True)
class Decision:
    """The plan for one cell, with the number of steps, the batch size and the platform."""

    cell: Cell
    time: int
    batch: int
    choice: Plan
    platform: str = ""

    @property
    def how(self) -> str:
        """The plan's description of how the strategy runs this cell; may be empty."""
        return self.choice.how


_decisions: ContextVar[list[Decision] | None] = ContextVar("decisions", default=None)


@contextlib.contextmanager
def recorded_decisions() -> Iterator[list[Decision]]:
    """Collects the decisions of all recurrences traced inside."""
    decisions: list[Decision] = []
    token = _decisions.set(decisions)
    try:
        yield decisions
    finally:
        _decisions.reset(token)


class Strategy(Static, Executor):
    """Executes a recurrence. It may change the cost, but never values or gradients.

    A subclass defines `run`, and `check` if there are cells that it cannot run. A subclass
    that also runs the projection and the readout defines `unroll` instead of `run`.

    Attributes:
        symbolic: whether T or B may be symbolic dimensions of `jax.export`.
        joins_layers: whether it runs several layers in one loop. Such a strategy must be
            given to `unroll` itself, not to another strategy.

    Example:
        >>> from dataclasses import dataclass
        >>> import jax, jaxrnn
        >>> @dataclass(frozen=True)
        ... class Plain(jaxrnn.Strategy):
        ...     def run(self, cell, params, state, zs):
        ...         def body(state, z):
        ...             state = jax.vmap(cell.recur, (None, 0, 0))(params, state, z)
        ...             return state, state
        ...
        ...         return jax.lax.scan(body, state, zs)
        >>> jaxrnn.testing.check_strategy(Plain(), jaxrnn.GRU(3, 4))
    """

    symbolic: ClassVar[bool] = False
    joins_layers: ClassVar[bool] = False

    def run(self, cell: Cell, params: Any, state: Any, zs: Any) -> tuple[Any, Any]:
        """The state after the last step, and the states after every step.

        Args:
            cell: the cell, which defines one step of one sequence.
            params: its parameters.
            state: leaves `(B, ...)`.
            zs: the results of `cell.project`, leaves `(T, B, ...)`.
        """
        raise NotImplementedError(
            f"{self} runs projection, recurrence and readout together, not the recurrence "
            "alone"
        )

    def check(self, cell: Cell, params: Any, state: Any, xs: Any) -> None:
        """Raises NotImplementedError, with the reason, if it cannot run the cell."""
        del cell, params, state, xs

    def plan(self, cell: Cell, params: Any, state: Any, xs: Any) -> Plan:
        """The plan to run this cell; NotImplementedError if it cannot run it."""
        self.check(cell, params, state, xs)
        return Plan(self, partial(self.unroll, cell))

    def unroll(self, cell: Cell, params: Any, state: Any, xs: Any) -> tuple[Any, Any]:
        """Runs projection, recurrence and readout, and returns `(state, ys)`."""
        zs = over_time_and_batch(cell.project, params, xs)
        state, states = self.run(cell, params, state, zs)
        return state, over_time_and_batch(cell.readout, params, states, zs)

    @final
    def __call__(
        self, cell: Cell, params: Any, state: Any, xs: Any, context: Context
    ) -> tuple[Any, Any]:
        cell, xs = masked(cell, xs, context)
        if not self.symbolic and not has_sizes(xs):
            raise NotImplementedError(
                f"{self} needs T and B as numbers, and one of them is a symbol here. Give "
                "strategy=jaxrnn.Scan() or jaxrnn.Auto()."
            )
        plan = self.plan(cell, params, state, xs)
        decisions = _decisions.get()
        if decisions is not None:
            time, batch = jax.tree.leaves(xs)[0].shape[:2]
            found = Decision(unmasked(cell), time, batch, plan, platform() or "")
            decisions.append(found)
        return plan.unroll(params, state, xs)


def check_inner(owner: Any, name: str, inner: Any) -> None:
    """Checks that `inner` is a strategy that another one can use for its parts."""
    call = f"{type(owner).__name__}({name}={inner})"
    if not isinstance(inner, Strategy):
        raise TypeError(f"{call}: give a strategy, such as jaxrnn.Scan().")
    if inner.joins_layers:
        turned = f"{type(inner).__name__}(inner={type(owner).__name__}(...))"
        advice = (
            f"Nest them the other way round: {turned}."
            if hasattr(inner, "inner")
            else f"Give {inner} to unroll itself."
        )
        raise ValueError(
            f"{call}: {type(owner).__name__} runs one recurrence at a time, but {inner} "
            f"runs several layers in one loop. {advice}"
        )


def has_sizes(xs: Any) -> bool:
    """Whether T and B are numbers, not symbolic dimensions of `jax.export`."""
    return all(isinstance(size, int) for size in jax.tree.leaves(xs)[0].shape[:2])


def unmasked(cell: Cell) -> Cell:
    """The cell without the wrapper for masks."""
    return cell.cell if isinstance(cell, Masked | MaskedLinear) else cell


def accumulate_in_float32(params: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Params with narrower floats cast to float32, and a function that casts them back.

    A scan sums the gradients of the arrays that it closes over in their own dtype. So a
    loop that closes over the widened params, and casts them back inside, sums in float32.
    Values do not change: both casts are exact.

    The function casts the gradients alone, and returns the params as they were given: XLA
    does not move a cast of a whole weight out of a loop on every platform.
    """

    def widen(p: jax.Array) -> jax.Array:
        return p.astype(jnp.float32) if _is_narrow(p) else p

    def back(stored: Any) -> Any:
        return jax.tree.map(
            lambda s, p: _cast_back(s, p) if _is_narrow(p) else s, stored, params
        )

    return jax.tree.map(widen, params), back


def _is_narrow(p: jax.Array) -> bool:
    return jnp.issubdtype(p.dtype, jnp.floating) and p.dtype.itemsize < 4


@jax.custom_jvp
def _cast_back(wide: jax.Array, narrow: jax.Array) -> jax.Array:
    """`wide` in the dtype of `narrow`, which it was cast from, with the derivative of that."""
    del wide
    return narrow


@_cast_back.defjvp
def _cast_back_jvp(primals, tangents):
    _, narrow = primals
    return narrow, tangents[0].astype(narrow.dtype)


def resident(tree: Any) -> Any:
    """Copies of bfloat16 arrays that a TPU can keep in vector memory over a whole loop.

    XLA leaves an argument of a program in main memory while a loop reads it, and copies it
    again in every step; a new array it places in vector memory. float32 needs no copy: there
    the loop reads a new array anyway, rounded to bfloat16. The copy is by `reduce_precision`,
    which is exact here and, unlike a pair of casts, is not simplified away. Other platforms
    get the arrays as they are.
    """

    def copied(x: jax.Array) -> jax.Array:
        bits = jnp.finfo(x.dtype)
        wide = jax.lax.reduce_precision(x.astype(jnp.float32), bits.nexp, bits.nmant)
        return wide.astype(x.dtype)

    def on_platforms(x: Any) -> Any:
        if x.dtype != jnp.bfloat16 or x.ndim < 2:
            return x
        return jax.lax.platform_dependent(x, tpu=copied, default=lambda x: x)

    return jax.tree.map(on_platforms, tree)


def check_strategy(strategy: Any) -> None:
    """Checks that this is a strategy object."""
    if not isinstance(strategy, Strategy):
        raise TypeError(
            f"strategy is {described(strategy)}; give an object, such as jaxrnn.Scan() "
            "or jaxrnn.Checkpointed(every=32)."
        )
