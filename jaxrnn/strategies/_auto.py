"""Dispatch that can be asked: an ordered tuple of candidates, the first that accepts."""

from dataclasses import dataclass

import jax

from ._base import Choice, Strategy, has_sizes, on_platform, platform
from ._checkpointed import Checkpointed
from ._chunked import Chunked
from ._fused import Fused
from ._scan import Scan
from ._wavefront import Wavefront
from .hoisted import Hoisted


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

    symbolic = True

    def select(self, cell, params, state, xs):
        if not has_sizes(xs):
            return Choice(Scan())
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
        by = lambda strategy: strategy.run
        return self._by_platform(by, cell, params, state, zs, of=(params, state, zs))

    def unroll(self, cell, params, xs, state):
        by = lambda strategy: strategy.unroll
        return self._by_platform(by, cell, params, xs, state, of=(params, state, xs))

    def _by_platform(self, method, cell, *args, of):
        """The choice of the platform that the program is lowered for."""
        choose = lambda: self.select(cell, *of).strategy
        if platform() is not None:
            return method(choose())(cell, *args)
        chosen = {}
        for name in ("cpu", "gpu"):  # every other platform decides as a GPU does
            with on_platform(name):
                chosen[name] = choose()
        if chosen["cpu"] == chosen["gpu"]:
            return method(chosen["cpu"])(cell, *args)

        def branch(name):
            def run(*args):
                with on_platform(name):
                    return method(chosen[name])(cell, *args)

            return run

        return jax.lax.platform_dependent(
            *args, cpu=branch("cpu"), default=branch("gpu")
        )
