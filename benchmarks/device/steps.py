"""The steps of a run, the most wanted first, and what each of them does in its process."""

import dataclasses
import fnmatch
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..cases import Case
from .lines import Say
from .runner import Step


_SHAPES = ((1024, 16, 768), (256, 64, 512), (128, 128, 1024))
_TINY = (12, 3, 8)
_BARE = ("forward", "backward")


@dataclass(frozen=True)
class Work:
    """What one step does: `run(say, rehearse, without)` in at most `limit` seconds."""

    run: Callable[[Say, bool, tuple[str, ...]], None]
    limit: float


def case_of(kind: str, shape: tuple[int, int, int], dtype: str) -> Case:
    """A case with as many inputs as units."""
    time, batch, hidden = shape
    return Case(
        kind,
        time,
        batch,
        hidden,
        hidden,
        dtype=dtype,
        figures=_BARE,
        compile_time=False,
    )


def _ceilings(say: Say, rehearse: bool, without: tuple[str, ...]) -> None:
    from .ceilings import describe

    describe(say, rehearse)


def _fused(say: Say, rehearse: bool, without: tuple[str, ...]) -> None:
    from .values import check_fused

    check_fused(say, rehearse)


def _cudnn(say: Say, rehearse: bool, without: tuple[str, ...]) -> None:
    from .values import check_cudnn

    check_cudnn(say, rehearse)


def _laws(say: Say, rehearse: bool, without: tuple[str, ...]) -> None:
    from .values import check_laws

    check_laws(say, rehearse)


def _thunks(say: Say, rehearse: bool, without: tuple[str, ...]) -> None:
    from .thunks import count

    count(say, rehearse)


def _delta(say: Say, rehearse: bool, without: tuple[str, ...]) -> None:
    from .delta import measure_delta

    measure_delta(say, rehearse)


def _table(case: Case) -> Work:
    def run(say: Say, rehearse: bool, without: tuple[str, ...]) -> None:
        from .tables import measure

        time, batch, hidden = _TINY
        tiny = dataclasses.replace(
            case, time=time, batch=batch, inputs=hidden, hidden=hidden
        )
        measure(say, tiny if rehearse else case, without)

    return Work(run, 110)


def works() -> dict[str, Work]:
    """All steps of a run, by name, in their order."""
    dense = [
        case_of(kind, shape, dtype)
        for shape in _SHAPES
        for kind in ("lstm", "gru")
        for dtype in ("float32", "bfloat16")
    ]
    matrix = [
        case_of(kind, (1024, 8, 512), "float32") for kind in ("gla", "gateddeltanet")
    ]
    first, rest = dense[:4], dense[4:]
    return {
        "ceilings": Work(_ceilings, 45),
        "values of Fused": Work(_fused, 50),
        "values of CuDNN": Work(_cudnn, 50),
        **{f"table {case.name}": _table(case) for case in first},
        "laws": Work(_laws, 65),
        "delta": Work(_delta, 45),
        "launches": Work(_thunks, 45),
        **{f"table {case.name}": _table(case) for case in (*matrix, *rest)},
    }


def select(folder: Path, patterns: tuple[str, ...], rehearse: bool) -> list[Step]:
    """The steps whose names match one of the patterns; all without patterns.

    Raises:
        ValueError: if a pattern matches no step.
    """
    found = works()
    for pattern in patterns:
        if not fnmatch.filter(found, pattern):
            raise ValueError(
                f"no step matches {pattern!r}; the steps are {', '.join(found)}."
            )
    chosen = [
        name
        for name in found
        if not patterns or any(fnmatch.fnmatch(name, p) for p in patterns)
    ]
    small = ("--rehearse",) if rehearse else ()
    return [
        Step(
            name,
            (
                sys.executable,
                "-m",
                "benchmarks.device",
                "step",
                name,
                str(folder),
                *small,
            ),
            found[name].limit,
        )
        for name in chosen
    ]
