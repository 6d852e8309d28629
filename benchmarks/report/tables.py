"""Results as tables of text, for the terminal and for Markdown alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..cases import KINDS


TITLES = {
    "forward": "Forward",
    "backward": "Forward and backward, with the gradient of the inputs",
    "update": "One optimiser step",
    "stream": "One time step at B = 1, on one core",
}


@dataclass(frozen=True)
class Table:
    """A title, one line that says how to read it, and rows."""

    title: str
    caption: str
    header: list[str]
    rows: list[list[str]]


def tables(results: dict[str, Any]) -> list[Table]:
    """Every table that the results have something for: figures first."""
    figures = [
        f for f in TITLES if any(f in c["case"]["figures"] for c in _cases(results))
    ]
    found = [_times(results, figure) for figure in figures]
    found += [_shares(results, figure) for figure in figures]
    found += [_compiling(results), _temporaries(results), _resident(results)]
    return [table for table in [*found, _gates(results)] if _filled(table)]


def title(results: dict[str, Any], name: str) -> str:
    """What a reader calls a contender."""
    return results["contenders"][name].get("title", name)


def present(results: dict[str, Any]) -> list[str]:
    """The contenders that took part in any case, in their order."""
    return [
        name
        for name, contender in results["contenders"].items()
        if "title" in contender
        and _took_part(contender)
        and any("gate" in case["results"].get(name, {}) for case in _cases(results))
    ]


def notes(results: dict[str, Any]) -> list[str]:
    """What a reader must know: variants, choices made, refusals, and the run's lines."""
    found: dict[str, list[str]] = {}
    for case in _cases(results):
        for name, result in case["results"].items():
            for text in _remarks(result, case):
                found.setdefault(f"{title(results, name)} {text}", []).append(
                    case["name"]
                )
    count = len(_cases(results))
    said = [
        f"{text}: {'every case' if len(cases) == count else ', '.join(cases)}"
        for text, cases in found.items()
    ]
    return [*said, *results["lines"]]


def _remarks(result: dict, case: dict) -> list[str]:
    kind = case["case"]["kind"]
    computed = result.get("computes", kind)
    said = [f"\\* computes {KINDS[computed].title}"] if computed != kind else []
    said += [result["note"]] if result.get("note") else []
    return said + ([f"has none: {result['refused']}"] if "refused" in result else [])


def seconds(value: float) -> str:
    """Three digits, in a unit that suits."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def _times(results: dict[str, Any], figure: str) -> Table:
    def entry(result: dict, case: dict) -> str:
        found = result.get("figures", {}).get(figure)
        if found is None:
            return ""
        ratio = f" ({_ratio(found['ratio'])})" if "ratio" in found else ""
        return f"{seconds(found['seconds'])}{ratio}"

    reference = results["reference"]
    caption = f"time: the {results['statistic']}"
    if reference in results["contenders"]:
        caption += f", and in brackets its ratio to {title(results, reference)}"
    return _table(results, TITLES[figure], caption, entry, figure)


def _shares(results: dict[str, Any], figure: str) -> Table:
    def entry(result: dict, case: dict) -> str:
        share = result.get("figures", {}).get(figure, {}).get("floor_share")
        return "" if share is None else f"{100 * share:.0f} %"

    caption = "what part of the time the matrix products alone would take"
    return _table(
        results, f"{TITLES[figure]}: share of the floor", caption, entry, figure
    )


def _compiling(results: dict[str, Any]) -> Table:
    def entry(result: dict, case: dict) -> str:
        found = result.get("compile_seconds", {})
        return seconds(found["backward"]) if "backward" in found else ""

    caption = "tracing and compiling forward and backward"
    timed = [c for c in _cases(results) if c["case"].get("compile_time", True)]
    return _table(results | {"cases": timed}, "Compile time", caption, entry)


def _temporaries(results: dict[str, Any]) -> Table:
    def entry(result: dict, case: dict) -> str:
        found = result.get("temporary_bytes")
        return "" if found is None else _size(found)

    caption = (
        "what XLA sets aside for forward and backward, beside arguments and results"
    )
    return _table(results, "Temporary memory", caption, entry)


def _resident(results: dict[str, Any]) -> Table:
    def entry(result: dict, case: dict) -> str:
        found = result.get("memory", {})
        if not found.get("peak"):
            return ""
        return f"{_size(found['peak'])} (+{_size(found['peak'] - found['before'])})"

    caption = (
        "peak of a fresh process after its first forward and backward, and in brackets "
        "what compiling and running added"
    )
    return _table(results, "Resident memory", caption, entry)


def _gates(results: dict[str, Any]) -> Table:
    def entry(result: dict, case: dict) -> str:
        gate = result.get("gate")
        if gate is None:
            return ""
        if gate["red"]:
            return f"RED {gate['shown']}"
        worst = max(gate["errors"], key=lambda n: gate["errors"][n] / gate["bounds"][n])
        return f"{gate['errors'][worst]:.1e} of {gate['bounds'][worst]:.1e}, {worst}"

    caption = (
        "the error that stands closest to its bound, against `Scan()` in float64, "
        "relative to the largest entry of its block"
    )
    return _table(results, "Gates", caption, entry)


def _table(
    results: dict[str, Any],
    title_: str,
    caption: str,
    entry: Callable[[dict, dict], str],
    figure: str | None = None,
) -> Table:
    names = present(results)
    rows = []
    for case in _cases(results):
        if figure is not None and figure not in case["case"]["figures"]:
            continue
        cells = [_entry(entry, case, name) for name in names]
        rows.append([case["name"], *cells])
    return Table(title_, caption, ["case", *(title(results, n) for n in names)], rows)


def _entry(entry: Callable[[dict, dict], str], case: dict, name: str) -> str:
    result = case["results"].get(name, {})
    shown = entry(result, case)
    if not shown:
        return "RED" if result.get("gate", {}).get("red") else "-"
    other = result.get("computes") != case["case"]["kind"]
    return f"{shown} \\*" if other else shown


def _filled(table: Table) -> bool:
    return any(cell not in ("-", "RED") for row in table.rows for cell in row[1:])


def _cases(results: dict[str, Any]) -> list[dict[str, Any]]:
    return results["cases"]


def _took_part(contender: dict[str, Any]) -> bool:
    return not (contender.get("absent") or contender.get("failed"))


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _size(count: int) -> str:
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count / 2**10:.3g} KiB"
