"""Dispatch that can be asked: an ordered tuple of candidates, the first that accepts."""

from dataclasses import dataclass

from ._base import Choice, Strategy
from ._checkpointed import Checkpointed
from ._chunked import Chunked
from ._fused import Fused
from ._hoisted import Hoisted
from ._scan import Scan
from ._wavefront import Wavefront


_CANDIDATES: tuple[Strategy, ...] = (
    Chunked(),
    Fused(),
    Hoisted(),
    Scan(),
    Wavefront(),
    Checkpointed(),
)


@dataclass(frozen=True)
class Auto(Strategy):
    """Takes the first of its candidates that accepts the cell and pays.

    | candidate        | taken for                     | because                          |
    |------------------|-------------------------------|----------------------------------|
    | `Chunked()`      | linear and matrix cells       | up to 10 times faster than       |
    |                  |                               | `Scan()`, and fewer states kept  |
    | `Fused()`        | on CPU, in float32, the cells | one kernel; faster than all else |
    |                  | that it has kernels for       | with gradients                   |
    | `Hoisted()`      | cells that multiply the state | 1.2 to 3 times faster than       |
    |                  | with parameters, or project   | `Scan()`, in less memory         |
    |                  | more than it                  |                                  |
    | `Scan()`         | every other cell              | nothing leaves its loop          |
    | `Wavefront()`    | by name alone                 | up to 1.8 times slower on CPU    |
    | `Checkpointed()` | by name alone                 | another forward pass, for memory |

    The figures were measured on CPU, forward and backward (`strategies/MEASURED.md`).
    `jaxrnn.explain` shows what was chosen for a layer, and why not the others.

    Args:
        candidates: strategies in order of preference.

    Example:
        >>> import jaxrnn
        >>> strategy = jaxrnn.Auto((jaxrnn.Fused(), jaxrnn.Hoisted(), jaxrnn.Scan()))
        >>> print(jaxrnn.explain(jaxrnn.MGU(3, 4), (5, 2, 3), strategy=strategy))
        MGU(input_size=3, hidden_size=4) over T=5, B=2, on cpu
          runs          Hoisted(): 2 products with parameters leave the loop
          passed over   Fused(): Fused() has no kernel for MGU(input_size=3, hidden_size=4)
          passed over   Scan(): Hoisted() stands before it
    """

    candidates: tuple[Strategy, ...] = _CANDIDATES

    def __post_init__(self):
        if not isinstance(self.candidates, tuple) or not all(
            isinstance(c, Strategy) for c in self.candidates
        ):
            raise TypeError(
                f"Auto(candidates={self.candidates!r}): `candidates` is a tuple of "
                "strategies, such as (jaxrnn.Scan(),)."
            )
        if not self.candidates:
            raise ValueError(
                "Auto(candidates=()): nothing to choose from. Give at least one "
                "strategy; jaxrnn.Scan() accepts every cell."
            )

    def select(self, cell, params, state, xs):
        refusals: list[NotImplementedError] = []
        passed_over: list[tuple[Strategy, str]] = []
        chosen: Strategy | None = None
        for candidate in self.candidates:
            if chosen is not None:
                passed_over.append((candidate, f"{chosen} stands before it"))
                continue
            try:
                found = candidate.select(cell, params, state, xs).strategy
            except NotImplementedError as refusal:
                refusals.append(refusal)
                passed_over.append((candidate, str(refusal)))
                continue
            if advice := found.advise(cell, params, state, xs):
                passed_over.append((candidate, advice))
            else:
                chosen = found
        if chosen is None:
            raise ExceptionGroup(f"no strategy accepts {cell}", refusals)
        return Choice(chosen, tuple(passed_over))

    def run(self, cell, params, state, zs):
        return self.select(cell, params, state, zs).strategy.run(
            cell, params, state, zs
        )

    def unroll(self, cell, params, xs, state):
        chosen = self.select(cell, params, state, xs).strategy
        return chosen.unroll(cell, params, xs, state)
