"""Dispatch that can be asked: an ordered tuple of candidates, the first that accepts."""

from dataclasses import dataclass

from ._base import Choice, Strategy
from ._checkpointed import Checkpointed
from ._chunked import Chunked
from ._scan import Scan


_CANDIDATES: tuple[Strategy, ...] = (Chunked(), Scan(), Checkpointed())


@dataclass(frozen=True)
class Auto(Strategy):
    """Takes the first of its candidates that accepts the cell.

    | candidate        | accepts    | why it stands there                               |
    |------------------|------------|---------------------------------------------------|
    | `Chunked()`      | linear and | was faster than `Scan()` wherever it was measured |
    |                  | matrix     | (its docstring has the table), and keeps fewer    |
    |                  | cells      | states                                            |
    | `Scan()`         | every cell | the reference                                     |
    | `Checkpointed()` | every cell | costs a second forward pass to save memory, so it |
    |                  |            | runs only where it is asked for by name           |

    `jaxrnn.explain` shows what was chosen for a layer, and why not the others.

    Args:
        candidates: strategies in order of preference.

    Example:
        >>> import jaxrnn
        >>> print(jaxrnn.explain(jaxrnn.GRU(3, 4), (5, 2, 3)))
        GRU(input_size=3, hidden_size=4) over T=5, B=2
          runs          Scan()
          passed over   Chunked(): Chunked() runs recurrences that are linear in their
            state; GRU(input_size=3, hidden_size=4) is neither a LinearCell nor a
            MatrixCell.
          passed over   Checkpointed(): Scan() stands before it
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
                chosen = candidate.select(cell, params, state, xs).strategy
            except NotImplementedError as refusal:
                refusals.append(refusal)
                passed_over.append((candidate, str(refusal)))
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
