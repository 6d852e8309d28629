"""Results as tables of text, for the terminal and for Markdown alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..cases import KINDS


TITLES = {
    "forward": "Forward",
    "backward": "Forward and backward, with the gradient of the inputs",
    "update": "One optimizer step",
    "stream": "One time step at B = 1, on one core",
}


@dataclass(frozen=True)
class Table:
    """A title, a caption that says how to read it, and rows.

    Attributes:
        main: whether it has times or ratios, which the terminal shows.
    """

    title: str
    caption: str
    header: list[str]
    rows: list[list[str]]
    main: bool = False


def tables(results: dict[str, Any]) -> list[Table]:
    """Every table that is not empty, times and ratios first."""
    measured = {f for case in results["cases"] for f in case["case"]["figures"]}
    figures = [figure for figure in TITLES if figure in measured]
    found = [make(results, f) for f in figures for make in (_times, _ratios)]
    found += [_shares(results, figure) for figure in figures]
    found += [_compiling(results), _temporaries(results), _resident(results)]
    return [table for table in [*found, _gates(results)] if _filled(table)]


def where(machine: dict[str, Any]) -> str:
    """The processors of a machine."""
    return ", ".join([machine["cpu"], f"{machine['cores']} cores", *machine["gpus"]])


def title(results: dict[str, Any], name: str) -> str:
    """A contender's name for readers."""
    return results["contenders"][name].get("title", name)


def present(results: dict[str, Any]) -> list[str]:
    """The contenders that were gated in any case, in their order."""
    return [
        name
        for name in results["contenders"]
        if any("gate" in case["results"].get(name, {}) for case in results["cases"])
    ]


def notes(results: dict[str, Any]) -> list[str]:
    """Variants, choices, refusals, and the messages of the run."""
    found: dict[str, list[str]] = {}
    for case in results["cases"]:
        for name, result in case["results"].items():
            for text in _remarks(result, case):
                line = f"{title(results, name)} {text}"
                found.setdefault(line, []).append(case["name"])
    count = len(results["cases"])
    lines = [
        f"{text}: {'every case' if len(cases) == count else ', '.join(cases)}"
        for text, cases in found.items()
    ]
    return [*lines, *results["lines"]]


def _remarks(result: dict, case: dict) -> list[str]:
    kind = case["case"]["kind"]
    computed = result.get("computes", kind)
    texts = [f"\\* computes {KINDS[computed].title}"] if computed != kind else []
    texts += [result["note"]] if result.get("note") else []
    return texts + (
        [f"does not run: {result['refused']}"] if "refused" in result else []
    )


def seconds(value: float, upper: float | None = None) -> str:
    """Three digits in a unit that suits; `upper` follows in brackets, in the same unit."""
    units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
    unit, scale = next((u for u in units if value >= u[1]), units[-1])
    bracket = "" if upper is None else f" ({_digits(upper / scale)})"
    return f"{_digits(value / scale)}{bracket} {unit}"


def _digits(value: float) -> str:
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def undecided(figure: dict[str, Any]) -> bool:
    """Whether the spread of a figure's ratio includes 1, at the digits that are shown."""
    lower, upper = figure["ratio_range"]
    return round(lower, 2) <= 1 <= round(upper, 2)


def _times(results: dict[str, Any], figure: str) -> Table:
    def entry(result: dict, case: dict) -> str:
        found = result.get("figures", {}).get(figure)
        if found is None:
            return ""
        return seconds(found["seconds"], found["quartiles"][2])

    caption = f"Time: the {results['statistic']}, and in brackets the upper quartile."
    return _table(results, TITLES[figure], caption, entry, figure, main=True)


def _ratios(results: dict[str, Any], figure: str) -> Table:
    reference = results["reference"]

    def entry(result: dict, case: dict) -> str:
        found = result.get("figures", {}).get(figure, {})
        if "ratio" not in found or result is case["results"].get(reference):
            return ""
        spread = "-".join(map(_ratio, found["ratio_range"]))
        return f"{'tie' if undecided(found) else _ratio(found['ratio'])} ({spread})"

    name = title(results, reference) if reference in results["contenders"] else ""
    caption = (
        f"Time divided by the time of {name}, and in brackets the spread of that ratio by "
        "the quartiles of both; a spread that includes 1 decides nothing, and is a tie."
    )
    return _table(
        results, f"{TITLES[figure]}: ratio", caption, entry, figure, main=True
    )


def _shares(results: dict[str, Any], figure: str) -> Table:
    def entry(result: dict, case: dict) -> str:
        share = result.get("figures", {}).get(figure, {}).get("floor_share")
        return "" if share is None else f"{100 * share:.0f} %"

    caption = "The time of the matmuls alone, as a share of the contender's time."
    return _table(
        results, f"{TITLES[figure]}: share of the floor", caption, entry, figure
    )


def _compiling(results: dict[str, Any]) -> Table:
    def entry(result: dict, case: dict) -> str:
        found = result.get("compile_seconds", {})
        return seconds(found["backward"]) if "backward" in found else ""

    timed = [c for c in results["cases"] if c["case"].get("compile_time", True)]
    caption = "Tracing and compiling forward and backward."
    return _table(results | {"cases": timed}, "Compile time", caption, entry)


def _temporaries(results: dict[str, Any]) -> Table:
    def entry(result: dict, case: dict) -> str:
        found = result.get("temporary_bytes")
        return "" if found is None else _size(found)

    caption = "XLA's memory for forward and backward, without arguments and results."
    return _table(results, "Temporary memory", caption, entry)


def _resident(results: dict[str, Any]) -> Table:
    def entry(result: dict, case: dict) -> str:
        found = result.get("memory", {})
        if not found.get("peak"):
            return ""
        return f"{_size(found['peak'])} (+{_size(found['peak'] - found['before'])})"

    caption = (
        "Peak of a fresh process after its first forward and backward, and in brackets "
        "the part that compiling and running added."
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
        "The error closest to its bound, against `Scan()` in float64, relative to the "
        "largest entry of its block."
    )
    return _table(results, "Gates", caption, entry)


def _table(
    results: dict[str, Any],
    title_: str,
    caption: str,
    entry: Callable[[dict, dict], str],
    figure: str | None = None,
    main: bool = False,
) -> Table:
    """A row for each case that has the figure; contenders without an entry are left out."""
    rows = [
        [case["name"], *(_entry(entry, case, name) for name in present(results))]
        for case in results["cases"]
        if figure is None or figure in case["case"]["figures"]
    ]
    header = ["case", *(title(results, name) for name in present(results))]
    columns = [
        (name, *cells)
        for name, *cells in zip(header, *rows, strict=True)
        if any(cell != "-" for cell in cells)
    ]
    header, *rows = (list(row) for row in zip(*columns, strict=True)) if rows else [[]]
    return Table(title_, caption, header, rows, main)


def _entry(entry: Callable[[dict, dict], str], case: dict, name: str) -> str:
    result = case["results"].get(name, {})
    shown = entry(result, case)
    if not shown:
        return "RED" if result.get("gate", {}).get("red") else "-"
    other = result.get("computes") != case["case"]["kind"]
    return f"{shown} \\*" if other else shown


def _filled(table: Table) -> bool:
    return any(cell not in ("-", "RED") for row in table.rows for cell in row[1:])


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _size(count: int) -> str:
    units = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
    unit, scale = next((u for u in units if count >= u[1]), units[-1])
    return f"{_digits(count / scale)} {unit}"
