"""Results as Markdown and pictures, side by side with their JSON."""

import json
from pathlib import Path
from typing import Any

from ..harness.runner import FORMAT
from .tables import Table, notes, tables


RESULTS = Path(__file__).resolve().parents[1] / "results"

METHOD = """\
Every contender ran in processes of its own; they took turns, one awake at a time. A turn
gives the fastest of its calls, a figure is the {statistic},
and whiskers go to the median of all. Before anything was timed, outputs, every gradient,
one optimiser step and some single steps of every contender were compared with `Scan()` in
float64; what did not agree has no figure. The floor is the matrix products alone, as XLA
runs them. `benchmarks/README.md` says more.
"""


def read_results(path: Path) -> dict[str, Any]:
    """Results as `run` wrote them.

    Raises:
        ValueError: for a file that is not one of results, or of another format.
    """
    try:
        results = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise ValueError(f"{path} holds no results of format {FORMAT}; run them again.")
    return results


def write_results(results: dict[str, Any], path: Path) -> None:
    """All or nothing: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(results, indent=1) + "\n")
    draft.replace(path)


def default_path(results: dict[str, Any]) -> Path:
    """Where results of this machine and suite are kept."""
    return RESULTS / results["machine"]["name"] / f"{results['suite']}.json"


def write_report(results: dict[str, Any], folder: Path) -> list[Path]:
    """Writes `<suite>.md` and one picture a figure, and returns their paths."""
    from .plots import plot_figures

    folder.mkdir(parents=True, exist_ok=True)
    pictures = plot_figures(results, folder)
    page = folder / f"{results['suite']}.md"
    page.write_text(markdown(results, [p.name for p in pictures]))
    return [page, *pictures]


def markdown(results: dict[str, Any], pictures: list[str]) -> str:
    """The page: where it was run, tables, pictures, notes."""
    parts = [f"# Suite `{results['suite']}`", _where(results), METHOD.format(**results)]
    if not results["finished"]:
        parts.append("**The run was stopped before its end.**")
    parts += [f"![{name}]({name})" for name in pictures]
    parts += [_markdown_table(table) for table in tables(results)]
    said = notes(results)
    if said:
        parts.append("## Notes\n\n" + "\n".join(f"- {line}" for line in said))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _where(results: dict[str, Any]) -> str:
    machine = results["machine"]
    parts = [f"{machine['cpu']}, {machine['cores']} cores"]
    parts += [f"{machine['memory_gib']} GiB"] if machine["memory_gib"] else []
    parts += machine["gpus"]
    parts += [machine["system"], f"started {results['started']}"]
    if results["load_at_start"]:
        parts.append(f"load average {results['load_at_start'][0]} at the start")
    if results["settings"].get("keep_memory"):
        parts.append("workers kept the memory that they freed")
    versions = ", ".join(f"{name} {v}" for name, v in results["versions"].items())
    return f"{'; '.join(parts)}.\n\n{versions}."


def _markdown_table(table: Table) -> str:
    lines = [f"| {' | '.join(table.header)} |", "|---" * len(table.header) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in table.rows]
    return f"## {table.title}\n\n{_sentence(table.caption)}\n\n" + "\n".join(lines)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
