"""The command line: `python -m benchmarks run`, `list`, `report` and `compare`."""

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as RichTable

from . import cases as all_cases
from . import peers as all_peers
from .cases import Case
from .contender import CONTENDER, SOLVER
from .harness.runner import Runner
from .harness.trial import Task
from .harness.turns import Settings
from .report.compare import changes, missing
from .report.page import write_report
from .report.results import RESULTS, default_path, read_results, write_results
from .report.tables import Table, tables


_SETTINGS = {
    "quick": Settings(
        processes=3, seconds=0.14, min_turns=3, rounds=4, time_limit=465.0
    ),
    "full": Settings(seconds=0.6, max_seconds=6.0),
    "strategies": Settings(),
    "gpu": Settings(seconds=0.6),
    "smoke": Settings(seconds=0.015, rounds=2),
}
_WITH_MEMORY = ("full", "gpu")

_console = Console(highlight=False)
if not _console.is_terminal:
    _console = Console(highlight=False, width=260)


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
        suite: the cases; `python -m benchmarks list` shows them.
        cases: only the cases of the suite whose names match one of these patterns.
        peers: only these contenders, besides the reference and the floor; "jaxrnn" for
            all its strategies; `module:attribute` for a contender of your own.
        json: the result file. By default, results of a whole suite go to
            `benchmarks/results/<machine>/<suite>.json`; others are not stored.
        seconds: time for each figure in each process of a contender.
        memory: also measures resident memory, as full and gpu always do.
        keep_memory: workers keep the memory that they free instead of returning it to
            the system after every call, which is the default of glibc.
        resume: continues an interrupted run from its result file.
        report: also writes the Markdown page and the pictures.
    """
    chosen = all_cases.select(suite, cases)
    names = all_peers.select(peers or (("jaxrnn",) if suite == "strategies" else ()))
    settings = dataclasses.replace(_SETTINGS[suite], keep_memory=keep_memory)
    if seconds is not None:
        settings = dataclasses.replace(settings, seconds=seconds)
    runner = _runner(suite, chosen, names, settings, memory or suite in _WITH_MEMORY)
    whole = not cases and not peers and suite != "smoke"
    path = json or (default_path(runner.results) if whole else None)
    if resume and path is not None and path.exists():
        runner.resume(read_results(path))
    results = _watched(runner, path)
    for table in tables(results):
        if table.main:
            _print(table)
    if path is not None:
        _console.print(f"results in {path}")
    if report:
        folder = (path or default_path(results)).parent
        _print_paths(write_report(results, folder))
    return _status(results)


def list_() -> int:
    """Shows the cases of every suite, and the contenders."""
    for suite, cases in all_cases.SUITES.items():
        _console.print(f"{suite}: {', '.join(case.name for case in cases)}\n")
    _console.print(f"contenders: {', '.join(all_peers.select())}")
    return 0


def report(
    files: tyro.conf.Positional[tuple[Path, ...]] = (), out: Path | None = None
) -> int:
    """Turns results into Markdown and pictures.

    Args:
        files: JSON that `run` wrote; all of `benchmarks/results` by default.
        out: the folder; `benchmarks/results/<machine>` by default.
    """
    measured = (p for p in RESULTS.glob("*/*.json") if p.parent.name != "compiled")
    found = files or tuple(sorted(measured))
    if not found:
        _console.print(
            f"there are no results in {RESULTS}; `python -m benchmarks run` makes some"
        )
        return 1
    for file in found:
        results = read_results(file)
        _print_paths(write_report(results, out or default_path(results).parent))
    return 0


def compare(old: tyro.conf.Positional[Path], new: tyro.conf.Positional[Path]) -> int:
    """Lists the figures that changed by more than chance; exits with 1 if any got slower.

    Args:
        old: results of an earlier run.
        new: results of a later run on the same machine.
    """
    before, after = read_results(old), read_results(new)
    if before["machine"]["name"] != after["machine"]["name"]:
        _console.print("the machines differ, so the comparison means little")
    if before["settings"] != after["settings"]:
        _console.print("the settings differ, so the comparison means little")
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


def _runner(
    suite: str,
    cases: tuple[Case, ...],
    names: tuple[str, ...],
    settings: Settings,
    memory: bool,
) -> Runner:
    tasks = tuple(
        Task(
            case.name,
            case.figures,
            dataclasses.asdict(case),
            one_by_one=case.compile_time,
            memory=memory and not case.single_steps,
        )
        for case in cases
    )
    return Runner(
        suite,
        tasks,
        {name: (CONTENDER, name) for name in names},
        (SOLVER,),
        settings,
        reference=all_peers.REFERENCE,
        floor=all_peers.FLOOR,
        distributions=all_peers.DISTRIBUTIONS,
    )


def _watched(runner: Runner, path: Path | None) -> dict[str, Any]:
    """Runs with a progress bar, and writes the results so far after each case."""
    with Progress(console=_console, transient=True, auto_refresh=False) as progress:
        bar = progress.add_task(runner.results["suite"], total=runner.total)

        def save(results: dict[str, Any]) -> None:
            # The bar is drawn here only: a thread that draws would disturb the turns.
            progress.update(bar, advance=1, refresh=True)
            if path is not None:
                write_results(results, path)

        runner.say, runner.save = progress.console.print, save
        return runner.run()


def _status(results: dict) -> int:
    """0 if all went well; 1 for a red gate or a failure; 130 if it was interrupted."""
    if not results["finished"]:
        return 130
    entries = [r for case in results["cases"] for r in case["results"].values()]
    bad = any("failed" in e or e.get("gate", {}).get("red") for e in entries)
    return 1 if bad else 0


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
    commands: dict[str, Any] = {
        "run": run,
        "list": list_,
        "report": report,
        "compare": compare,
    }
    try:
        sys.exit(tyro.extras.subcommand_cli_from_dict(commands, prog="benchmarks"))
    except (ValueError, OSError) as error:
        sys.exit(f"benchmarks: {error}")


if __name__ == "__main__":
    main()
