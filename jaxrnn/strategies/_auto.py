"""`Auto` picks a strategy for each cell from an ordered tuple of candidates."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax

from ._base import (
    Plan,
    Refused,
    Strategy,
    check_inner,
    has_sizes,
    unmasked,
)
from ._chunked import Chunked
from ._platform import on_platform, platform
from ._scan import Scan
from .fused import Fused
from .hoisted import Hoisted


_CANDIDATES: tuple[Strategy, ...] = (Chunked(), Fused(), Hoisted(), Scan())


@dataclass(frozen=True)
class Auto(Strategy):
    """Uses the first of its candidates that accepts the cell and is worth using for it.

    | candidate    | chosen for                      | because                           |
    |--------------|---------------------------------|-----------------------------------|
    | `Chunked()`  | linear and matrix cells         | up to 10 times faster than        |
    |              |                                 | `Scan()`, and stores fewer states |
    | `Fused()`    | cells with a kernel, on a CPU,  | one kernel; the fastest of all    |
    |              | in float32                      | with gradients                    |
    | `Hoisted()`  | cells with a matmul of the      | 1.2 to 3 times faster than        |
    |              | state and a parameter, or whose | `Scan()`, in less memory          |
    |              | projection is larger than the   |                                   |
    |              | state                           |                                   |
    | `Scan()`     | every other cell                | nothing can leave the loop        |

    These factors were measured on a CPU, forward and backward (`docs/measured.md`). For
    TPUs and GPUs, programs were compiled and not run (`docs/accelerators.md`): the order is
    the same there, and `Chunked()` of an `RGLRU` saves memory alone.

    `Auto` never chooses the other strategies; give them by name. `Checkpointed()` trades a
    second forward pass for memory, `Wavefront()` was up to 1.8 times slower on a CPU, and
    `Newton()` pays only for long sequences on an otherwise idle accelerator.
    `jaxrnn.explain` shows the choice for a layer, and why it passed over each candidate
    before.

    Args:
        candidates: strategies in order of preference. `Wavefront` cannot be one, since it
            runs several layers in one loop; use `Wavefront(inner=Auto())`.

    Raises:
        TypeError, ValueError: if `candidates` is not a tuple of such strategies.

    Example:
        >>> import jaxrnn
        >>> strategy = jaxrnn.Auto((jaxrnn.Fused(), jaxrnn.Hoisted(), jaxrnn.Scan()))
        >>> print(jaxrnn.explain(jaxrnn.LayerNormGRU(3, 4), (5, 2, 3), strategy=strategy))
        LayerNormGRU(input_size=3, hidden_size=4) over T=5, B=2, on cpu
          runs          Hoisted(): 1 matmul with parameters leaves the loop
          passed over   Fused(): it has no kernel for this cell
    """

    candidates: tuple[Strategy, ...] = _CANDIDATES

    symbolic = True

    def __post_init__(self):
        if not isinstance(self.candidates, tuple):
            raise TypeError(
                f"Auto(candidates={self.candidates!r}): give a tuple of strategies, such "
                "as (jaxrnn.Scan(),)."
            )
        if not self.candidates:
            raise ValueError(
                "Auto(candidates=()): there is nothing to choose from. Give at least one "
                "strategy; jaxrnn.Scan() accepts every cell."
            )
        for candidate in self.candidates:
            check_inner(self, "candidates", candidate)

    def plan(self, cell, params, state, xs):
        if not has_sizes(xs):
            return Scan().plan(cell, params, state, xs)
        if platform() is not None:
            return self._choose(cell, params, state, xs)
        plans = {}
        for name in ("cpu", "gpu"):  # other platforms use the plan of a GPU
            with on_platform(name):
                plans[name] = self._choose(cell, params, state, xs)
        if plans["cpu"].strategy == plans["gpu"].strategy:
            return plans["cpu"]
        return Plan(self, partial(_by_platform, plans))

    def unroll(self, cell, params, state, xs):
        return self.plan(cell, params, state, xs).unroll(params, state, xs)

    def _choose(self, cell, params, state, xs):
        """The plan of the first candidate that accepts the cell and gives no `skip`."""
        refusals: list[NotImplementedError] = []
        passed_over: list[tuple[Strategy, str]] = []
        for candidate in self.candidates:
            try:
                plan = candidate.plan(cell, params, state, xs)
            # only "not my case": any other error is a mistake that the user should see
            except NotImplementedError as refusal:
                refusals.append(refusal)
                reason = refusal.reason if isinstance(refusal, Refused) else refusal
                passed_over.append((candidate, str(reason)))
                continue
            if not plan.skip:
                found = (*passed_over, *plan.passed_over)
                return replace(plan, passed_over=found, evidence=_evidence())
            passed_over.append((plan.strategy, plan.skip))
        raise ExceptionGroup(f"no strategy accepts {unmasked(cell)}", refusals)


def _evidence() -> str:
    """Where a choice comes from; empty on a CPU, where everything was measured."""
    if platform() in (None, "cpu"):
        return ""
    return (
        f"measured on a CPU; for {platform()}, compiled and not run "
        "(docs/accelerators.md)"
    )


def _by_platform(plans: dict[str, Plan], params: Any, state: Any, xs: Any) -> Any:
    """Runs the plan of the platform that the program is lowered for.

    A program is traced once, and may be lowered for another platform than JAX's default. So
    both plans are traced, and the choice is made at lowering.
    """

    def branch(name: str) -> Any:
        def run(*args):
            with on_platform(name):
                return plans[name].unroll(*args)

        return run

    cpu, other = branch("cpu"), branch("gpu")
    return jax.lax.platform_dependent(params, state, xs, cpu=cpu, default=other)
