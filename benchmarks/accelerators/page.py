"""The page `docs/accelerators.md`, and the tables of the terminal."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any


Table = list[list[str]]

TEMPLATE = Path(__file__).with_name("page.md")


def tables(parts: list[dict[str, Any]]) -> Iterator[tuple[str, Table]]:
    """Titles and tables, each with its header as the first row."""
    parts = sorted(parts, key=lambda part: (part["target"], part["versions"]["jax"]))
    yield "The compiled programs", _compiled(parts)
    yield "Memory, estimated cycles and launches", _figures(parts)
    if any(part["bundles"] for part in parts):
        yield "Static bundles of a step, LSTM in bfloat16", _bundles(parts)
    if any("registers" in entry for part in parts for entry in part["small"]):
        yield "Registers of the kernels for a GPU", _registers(parts)


def write(parts: list[dict[str, Any]], path: Path) -> None:
    """Writes the page at once: the template, with the tables in their places."""
    found = dict(tables(parts))
    text = TEMPLATE.read_text()
    for title, table in found.items():
        text = text.replace(f"<!-- {title} -->", markdown(table))
    draft = path.with_suffix(".part")
    draft.write_text(text)
    draft.replace(path)


def markdown(table: Table) -> str:
    """A table in Markdown."""
    header, *rows = table
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def aligned(table: Table) -> list[str]:
    """The lines of a table with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    ]


def _target(part: dict[str, Any]) -> str:
    return f"{part['target']}, JAX {part['versions']['jax']}"


def _compiled(parts: list[dict[str, Any]]) -> Table:
    """One row for each target: versions, and which strategies were compiled."""
    rows = [["target", "compiler", "cells", "strategies", "programs that compile"]]
    for part in parts:
        small = part["small"]
        if not small:
            continue
        versions = part["versions"]
        compiler = ("libtpu", "jax-cuda13-plugin")["libtpu" not in versions]
        cells = {entry["cell"] for entry in small}
        named = sorted({entry["strategy"].split("(")[0] for entry in small})
        good = sum(not entry["faults"] for entry in small)
        rows.append(
            [
                _target(part),
                f"{compiler} {versions.get(compiler, '')}",
                str(sum("," not in cell for cell in cells - {"Stack"})),
                ", ".join(named),
                f"{good} of {len(small)}",
            ]
        )
    return rows


def _figures(parts: list[dict[str, Any]]) -> Table:
    header = ["target", "cell", "pass", "strategy", "temporary MiB", "Mcycles"]
    rows = [[*header, "launches a step", "loops"]]
    for part in parts:
        for entry in part["large"]:
            cycles = entry.get("estimated_cycles")
            launches = entry.get("launches_a_step")
            rows.append(
                [
                    _target(part),
                    f"{entry['cell']} {entry['dtype']}",
                    "both" if entry["backward"] else "forward",
                    entry["strategy"],
                    _memory(entry),
                    "" if cycles is None else f"{cycles / 1e6:.1f}",
                    "" if launches is None else f"{launches:.1f}",
                    _loops(entry.get("loops", [])),
                ]
            )
    return rows


def _memory(entry: dict[str, Any]) -> str:
    size = f"{entry['temporary_bytes'] / 2**20:.1f}"
    return size if entry["fits"] else f"{size}: more than the device has"


def _loops(loops: list[list[int]]) -> str:
    """Trip counts; loops inside the one before are in parentheses."""
    return ", ".join(f"({t})" if depth > 1 else str(t) for depth, t in loops)


def _bundles(parts: list[dict[str, Any]]) -> Table:
    rows = [["target", "strategy", "forward", "backward", "count"]]
    for part in parts:
        for entry in part["bundles"]:
            rows.append(
                [
                    _target(part),
                    entry["strategy"],
                    str(entry["forward"]),
                    str(entry["backward"]),
                    "whole" if entry["whole"] else "lower bound",
                ]
            )
    return rows


def _registers(parts: list[dict[str, Any]]) -> Table:
    rows = [["target", "cell", "forward", "backward", "spilled bytes"]]
    for part in parts:
        for entry in part["small"]:
            if len(entry.get("registers", ())) == 2:
                used, spilled = entry["registers"], entry["spilled"]
                numbers = [*map(str, used), str(sum(spilled))]
                rows.append([_target(part), entry["cell"], *numbers])
    return rows
