"""Checks the results of all parts, prints a table, and writes the JSON and the page."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import page


JSON = "benchmarks/results/compiled/figures.json"
PAGE = "docs/accelerators.md"

MEMORY = 1 / 5
"""The most temporary memory of a lean strategy, with gradients, in units of Scan's."""

CYCLES = {"RGLRU": 1.2, "GLA": 0.6, "GatedDeltaNet": 0.6}
"""The most estimated cycles in units of Scan's, with gradients; 0.9 for other cells.

`Chunked` takes an RGLRU for its memory: by the cost model it gains no cycles.
"""

LAUNCHES = 3.0
"""The most launches a step in the forward pass of `Hoisted` on a GPU."""

STEPS = 1024


def report(
    paths: list[Path], root: Path, say: Callable[[str], None], *, keep: bool
) -> bool:
    """Prints all tables and faults, writes the files, and returns whether there are faults."""
    from .parts import write_json

    parts = [json.loads(path.read_text()) for path in paths]
    programs = [part for part in parts if "large" in part]
    for title, table in page.tables(programs):
        say(f"\n{title}\n")
        for row in page.aligned(table):
            say(row)
    faults = [fault for part in parts for fault in faults_of(part)]
    for fault in faults:
        say(f"FAULT  {fault}")
    if not faults:
        say(f"\n{sum(map(_count, programs))} programs, no faults")
    if not keep and not faults:
        write_json([_without_times(part) for part in programs], root / JSON)
        page.write(programs, root / PAGE)
        say(f"wrote {JSON} and {PAGE}")
    return bool(faults)


def faults_of(part: dict[str, Any]) -> Iterator[str]:
    """Everything that is wrong in one part."""
    if "planted" in part:
        for name, found in part["planted"].items():
            if not found:
                yield f"{part['target']}: a planted fault was not found: {name}"
        return
    where = f"{part['target']}, jax {part['versions']['jax']}"
    if not part["finished"]:
        yield f"{where}: the run was stopped before its end; run it again"
    for name, found in part["platforms"].items():
        yield from (f"{where}: {name}: {fault}" for fault in found)
    for entry in [*part["small"], *part["large"]]:
        for fault in entry["faults"]:
            yield f"{where}: {entry['cell']} under {entry['strategy']}: {fault}"
    for fault in [*ratio_faults(part), *loop_faults(part)]:
        yield f"{where}: {fault}"


def ratio_faults(part: dict[str, Any]) -> list[str]:
    """Ratios of a lean strategy to Scan that are over their bounds."""
    found = []
    for scan, lean in pairs(part["large"]):
        bounds = {"temporary_bytes": MEMORY}
        if scan["fits"]:
            bounds["estimated_cycles"] = CYCLES.get(scan["cell"], 0.9)
        for key, bound in bounds.items():
            ratio = lean.get(key, 0) / max(1, scan.get(key, 1))
            if scan["backward"] and ratio > bound:
                found.append(
                    f"{lean['strategy']} of {lean['cell']} in {lean['dtype']} has "
                    f"{ratio:.2f} times the {key.replace('_', ' ')} of Scan; at most "
                    f"{bound:.2f} are expected"
                )
    return found


def loop_faults(part: dict[str, Any]) -> list[str]:
    """Trip counts and launches that are not those of the schedule."""
    found = []
    for entry in part["large"]:
        name = f"{entry['strategy']} of {entry['cell']} in {entry['dtype']}"
        loops = entry.get("loops", [])
        if entry["strategy"] == "Scan" and any(loop != [1, STEPS] for loop in loops):
            found.append(f"{name} has loops of {loops} (depth, steps)")
        if entry["strategy"] == "Hoisted":
            inner = [trips for depth, trips in loops if depth == 2]
            outer = [trips for depth, trips in loops if depth == 1]
            if STEPS // 8 not in outer:
                found.append(f"{name} has no forward loop of {STEPS // 8} blocks")
            if entry["backward"] and math.prod([outer[-1], *inner]) != STEPS:
                found.append(f"{name} has backward loops of {loops} (depth, steps)")
            launches = entry.get("launches_a_step", 0)
            if not entry["backward"] and launches > LAUNCHES:
                found.append(
                    f"{name} launches {launches} kernels a step in its forward pass; at "
                    f"most {LAUNCHES} are expected"
                )
    return found


def pairs(entries: list[dict]) -> Iterator[tuple[dict, dict]]:
    """Each program under Scan, with the same program under a lean strategy."""
    key = lambda e: (e["cell"], e["dtype"], e["backward"])
    scans = {key(e): e for e in entries if e["strategy"] == "Scan"}
    for entry in entries:
        if entry["strategy"] != "Scan" and key(entry) in scans:
            yield scans[key(entry)], entry


def _count(part: dict[str, Any]) -> int:
    return len(part["small"]) + len(part["large"]) + len(part["bundles"])


def _without_times(part: dict[str, Any]) -> dict[str, Any]:
    """Without the seconds that compiling took, which would change with every run."""
    large = [
        {k: v for k, v in entry.items() if k != "compile_seconds"}
        for entry in part["large"]
    ]
    return {k: v for k, v in part.items() if k != "seconds"} | {"large": large}
