"""The command line: `python -m benchmarks run`, `report` and `compare`."""

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable

from . import cases as all_cases
from . import peers as all_peers
from .harness.runner import Runner, Settings
from .report.compare import changes, missing
from .report.page import (
    RESULTS,
    default_path,
    read_results,
    write_report,
    write_results,
)
from .report.tables import TITLES, Table, tables


_SETTINGS = {
    "quick": Settings(processes=3, seconds=0.14, fewest=3, rounds=4, limit=465.0),
    "full": Settings(seconds=0.6, most=6.0, memory=True),
    "strategies": Settings(),
    "gpu": Settings(seconds=0.6, memory=True),
    "smoke": Settings(seconds=0.015, rounds=2),
}

_console = Console(highlight=False)
if not _console.is_terminal:
    _console = Console(highlight=False, width=240)


def run(
    suite: Literal["quick", "full", "strategies", "gpu", "smoke"] = "quick",
    cases: tuple[str, ...] = (),
    peers: tuple[str, ...] = (),
    json: Path | None = None,
    seconds: float | None = None,
    memory: bool = False,
    keep_memory: bool = True,
    resume: bool = False,
    report: bool = False,
) -> int:
    """Gates and times every contender, and prints the tables.

    Args:
        suite: quick takes eight minutes on two cores, full two hours, smoke some minutes;
            strategies compares those of the library alone.
        cases: only those of the suite whose names match any of these patterns.
        peers: only these contenders, besides the reference and the floor; "jaxrnn" for
            all its strategies; `module:attribute` for one of your own.
        json: where the results go. By default, those of a whole suite go to
            `benchmarks/results/<machine>/<suite>.json`, and others nowhere.
        seconds: for each figure in each process of a contender; more of them, less chance.
        memory: also measures resident memory, as full and gpu do in any case.
        keep_memory: workers keep the memory that they free, as under tcmalloc; without it,
            under glibc, they take it anew from the system in every call.
        resume: keeps the cases that an interrupted run has finished, by its results.
        report: also writes the Markdown and the pictures.
    """
    ours = ("jaxrnn",) if suite == "strategies" else ()
    chosen, names = all_cases.select(suite, cases), all_peers.select(peers or ours)
    settings = dataclasses.replace(
        _settings(suite, seconds, memory), keep_memory=keep_memory
    )
    runner = Runner(suite, chosen, names, settings)
    whole = not cases and not peers and suite != "smoke"
    path = json or (default_path(runner.results) if whole else None)
    if resume and path is not None and path.exists():
        runner.resume(read_results(path))
    if path is not None:
        runner.save = lambda results: write_results(results, path)
    results = _watched(runner)
    for table in tables(results):
        if table.title in TITLES.values():
            _print(table)
    if path is not None:
        _console.print(f"results in {path}")
    if report:
        _print_paths(write_report(results, path.parent if path else _home(results)))
    return _status(results)


def report(
    files: tyro.conf.Positional[tuple[Path, ...]] = (), out: Path | None = None
) -> int:
    """Turns results into Markdown and pictures.

    Args:
        files: JSON that `run` wrote; all of `benchmarks/results` by default.
        out: the folder; `benchmarks/results/<machine>` by default.
    """
    found = files or tuple(sorted(RESULTS.glob("*/*.json")))
    if not found:
        _console.print(
            f"no results in {RESULTS}; `python -m benchmarks run` makes some"
        )
        return 1
    for file in found:
        results = read_results(file)
        _print_paths(write_report(results, out or _home(results)))
    return 0


def compare(old: tyro.conf.Positional[Path], new: tyro.conf.Positional[Path]) -> int:
    """Says what got slower beyond chance, and exits with 1 if anything did.

    Args:
        old: results of an earlier run.
        new: results of a later one, on the same machine.
    """
    before, after = read_results(old), read_results(new)
    if before["machine"]["name"] != after["machine"]["name"]:
        _console.print("these are different machines: what follows says little")
    if before["settings"] != after["settings"]:
        _console.print("these were measured with other settings: the same holds")
    found = changes(before, after)
    for line in missing(before, after):
        _console.print(f"gone    {line}")
    for change in found:
        if change.faster:
            _console.print(f"faster  {change}")
    slower = [change for change in found if change.slower]
    for change in slower:
        _console.print(f"SLOWER  {change}")
    _console.print(f"{len(found)} figures compared, {len(slower)} got slower")
    return 1 if slower else 0


def _status(results: dict) -> int:
    """0 if all went well; 1 for a red gate or a failure; 130 if it was stopped."""
    if not results["finished"]:
        return 130
    entries = [r for case in results["cases"] for r in case["results"].values()]
    bad = any("failed" in e or e.get("gate", {}).get("red") for e in entries)
    return 1 if bad else 0


def _home(results: dict) -> Path:
    return default_path(results).parent


def _settings(suite: str, seconds: float | None, memory: bool) -> Settings:
    settings = _SETTINGS[suite]
    if seconds is not None:
        settings = dataclasses.replace(settings, seconds=seconds)
    return dataclasses.replace(settings, memory=memory or settings.memory)


def _watched(runner: Runner) -> dict[str, Any]:
    """Runs, with a bar that moves between turns: a thread drawing it would disturb."""
    with _progress() as progress:
        task = progress.add_task(runner.results["suite"], total=runner.total)

        def advance() -> None:
            progress.advance(task)
            progress.refresh()

        runner.say, runner.advance = progress.console.print, advance
        return runner.run()


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=_console,
        transient=True,
        auto_refresh=False,
    )


def _print(table: Table) -> None:
    shown = RichTable(title=f"{table.title}\n{table.caption}", title_justify="left")
    for i, name in enumerate(table.header):
        shown.add_column(name, justify="right" if i else "left", no_wrap=True)
    for row in table.rows:
        shown.add_row(*(cell.replace("\\*", "*") for cell in row))
    _console.print(shown)


def _print_paths(paths: list[Path]) -> None:
    for path in paths:
        _console.print(f"wrote {path}")


def main() -> None:
    """Parses the command line and exits with its status."""
    commands: dict[str, Any] = {"run": run, "report": report, "compare": compare}
    try:
        sys.exit(tyro.extras.subcommand_cli_from_dict(commands, prog="benchmarks"))
    except (ValueError, OSError) as error:
        sys.exit(f"benchmarks: {error}")


if __name__ == "__main__":
    main()
