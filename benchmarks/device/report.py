"""Tables from the lines of a run, whole or cut: text for the terminal, and Markdown.

A figure is shown only if its contender's gate is green; each has two medians, of the first
and of the second round of calls, and their distance is the noise.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..report.tables import Table
from . import lines


Line = dict[str, Any]

_WIDTH = 70
"""Characters of a cell in the text; Markdown has all of them."""

_FIGURES = {"forward": "forward", "backward": "forward + backward"}


def write_report(folder: Path) -> str:
    """Writes `report.md` and `report.txt` into the folder of a run; returns the text."""
    found = tables(lines.read(folder))
    text = "\n\n".join(map(_text, found))
    _write(folder / "report.md", "\n\n".join(map(_markdown, found)) + "\n")
    _write(folder / "report.txt", text + "\n")
    return text


def _write(path: Path, text: str) -> None:
    """Writes a file at once: an interrupted run leaves the old one or the new one."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    os.replace(part, path)


def tables(run: list[Line]) -> list[Table]:
    """Every table that is not empty."""
    names = list(dict.fromkeys(line["step"] for line in run))
    by_step = {name: _last_run([x for x in run if x["step"] == name]) for name in names}
    found = [_machine(by_step), _values(by_step), _laws(by_step)]
    found += [_times(name, own) for name, own in by_step.items()]
    found += [_launches(by_step), _steps(by_step)]
    return [table for table in found if table.rows]


def _last_run(own: list[Line]) -> list[Line]:
    """The lines of a step since it was started last: a second start repeats everything."""
    starts = [i for i, line in enumerate(own) if "started" in line]
    return own[starts[-1] :] if starts else own


def _machine(by_step: dict[str, list[Line]]) -> Table:
    rows = []
    for line in by_step.get("ceilings", []):
        if "smi" in line:
            rows += [["nvidia-smi", row] for row in line["smi"].splitlines()[-1:]]
        if "versions" in line:
            versions = ", ".join(f"{n} {v}" for n, v in line["versions"].items())
            devices = ", ".join(line["devices"])
            rehearsal = " (a rehearsal: no figure means anything)"
            rows.append(["JAX on", line["platform"] + rehearsal * line["rehearsal"]])
            rows += [["devices", devices], ["versions", versions]]
        if "rate" in line:
            rows.append([line["ceiling"], f"{line['rate']:.4g} {line['unit']}"])
    return Table("The machine", "Rates are medians of 20 calls.", ["", ""], rows)


def _values(by_step: dict[str, list[Line]]) -> Table:
    rows = []
    own = [line for name in by_step if "values" in name for line in by_step[name]]
    for line in (line for line in own if "strategy" in line):
        how = f"{line['dtype']}, {line['precision']}"
        how += ", lengths" * line["padded"]
        rows.append([line["strategy"], line["layer"], how, _verdict(line)])
    return Table(
        "Values and gradients against float64",
        "The largest relative error of an output or a gradient; Scan() on the same device in "
        "brackets.",
        ["strategy", "layer", "dtype, precision", "error"],
        rows,
    )


def _verdict(line: Line) -> str:
    if reason := line.get("refused") or line.get("failed"):
        return f"{'refused' if 'refused' in line else 'FAILED'}: {reason}"
    shown = f"{line['error']:.1e} ({line['scan']:.1e})"
    return shown if line["green"] else f"RED {shown} in {line['where']}"


def _laws(by_step: dict[str, list[Line]]) -> Table:
    own = [line for line in by_step.get("laws", []) if "strategy" in line]
    keys = dict.fromkeys((line["strategy"], line["precision"]) for line in own)
    rows = []
    for strategy, precision in keys:
        mine = [
            x for x in own if (x["strategy"], x["precision"]) == (strategy, precision)
        ]
        green = [x for x in mine if x.get("green")]
        other = [f"{x['layer']}: {_verdict(x)}" for x in mine if not x.get("green")]
        worst = max((x["error"] for x in green), default=None)
        rows.append(
            [
                strategy,
                precision,
                f"{len(green)} of {len(mine)}",
                "" if worst is None else f"{worst:.1e}",
                "; ".join(other),
            ]
        )
    return Table(
        "The laws: equal to Scan()",
        "Float32, with lengths; values and every gradient of a cell, against float64.",
        ["strategy", "precision", "cells", "largest error", "others"],
        rows,
    )


def _times(step: str, own: list[Line]) -> Table:
    names = dict.fromkeys(line["contender"] for line in own if "contender" in line)
    rows = [
        _row(name, [x for x in own if x.get("contender") == name]) for name in names
    ]
    header = ["contender", *(f"{f}, ms" for f in _FIGURES.values()), "gate", "note"]
    caption = "Medians of the first and the second 20 calls; fewer calls in brackets."
    return Table(step, caption, header, rows)


def _row(name: str, own: list[Line]) -> list[str]:
    gate = next((line for line in own if "green" in line), {})
    reasons = [
        f"{key}: {line[key]}"
        for line in own
        for key in ("refused", "failed")
        if key in line
    ]
    shown = ""
    if gate:
        shown = f"{gate['worst']:.1e} of {gate['bound']:.1e}"
        shown = shown if gate["green"] else f"RED {gate.get('gate', shown)}"
    note = "; ".join([*filter(None, [gate.get("note", "")]), *reasons])
    return [name, *(_medians(own, figure) for figure in _FIGURES), shown, note]


def _medians(own: list[Line], figure: str) -> str:
    found = [x for x in own if x.get("figure") == figure and "median_ms" in x]
    few = lambda x: "" if x["calls"] == 20 else f" ({x['calls']})"
    return " / ".join(f"{x['median_ms']:.4g}{few(x)}" for x in found)


def _launches(by_step: dict[str, list[Line]]) -> Table:
    rows = []
    for line in by_step.get("launches", []):
        if "strategy" not in line:
            continue
        what = [line["strategy"], line["dtype"], _FIGURES[line["figure"]]]
        if "failed" in line:
            rows.append([*what, "", f"failed: {line['failed']}"])
            continue
        loops = [f"{x['launches']} ({x['in_graphs']})" for x in line["loops"]]
        rows.append([*what, " + ".join(loops), _per_step(line)])
    return Table(
        "Launches of XLA, LSTM",
        "Launches of one iteration of each loop, and how many of them are in a CUDA graph.",
        ["strategy", "dtype", "", "one iteration", "per time step"],
        rows,
    )


def _per_step(line: Line) -> str:
    """All launches over the number of time steps, if every trip count is known."""
    if len(line["trips"]) != len(line["loops"]):
        return ""
    pairs = zip(line["trips"], line["loops"], strict=True)
    total = line["outside"] + sum(trips * loop["launches"] for trips, loop in pairs)
    return f"{total / line['steps']:.2f}"


def _steps(by_step: dict[str, list[Line]]) -> Table:
    rows = []
    for name, own in by_step.items():
        last = own[-1]
        late = [
            f"{x['unfinished']} of {x['checks']} unfinished"
            for x in own
            if "checks" in x
        ]
        why = last.get("why") or last.get("last", "") or "".join(late)
        rows.append([name, last.get("ended", "cut"), str(last.get("seconds", "")), why])
    header = ["step", "ended", "seconds", ""]
    return Table("The steps", "A step without an end was cut.", header, rows)


def _rendered(table: Table, row: Callable[[list[str]], str]) -> list[str]:
    return [row(cells) for cells in table.rows]


def _markdown(table: Table) -> str:
    clean = lambda cell: cell.replace("|", "\\|")
    row = lambda cells: f"| {' | '.join(map(clean, cells))} |"
    head = [row(table.header), "|---" * len(table.header) + "|"]
    body = "\n".join([*head, *_rendered(table, row)])
    return f"## {table.title}\n\n{table.caption}\n\n{body}"


def _text(table: Table) -> str:
    every = [table.header, *table.rows]
    widths = [max(len(cells[i]) for cells in every) for i in range(len(table.header))]
    widths = [min(width, _WIDTH) for width in widths]

    def row(cells: list[str]) -> str:
        padded = (c[:w].ljust(w) for c, w in zip(cells, widths, strict=True))
        return "  ".join(padded).rstrip()

    return "\n".join([f"# {table.title}", row(table.header), *_rendered(table, row)])
