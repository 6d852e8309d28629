"""The Markdown page and the pictures of a run, next to its JSON."""

from pathlib import Path
from typing import Any

from .plots import plot_figures
from .tables import Table, notes, tables, where


METHOD = """\
Each contender ran in processes of its own. They took turns, one of them awake at a time. A
turn gives the fastest of its calls, and a figure is the {statistic}. Before
anything was timed, the outputs, every gradient, one optimizer step and some single steps of
every contender were compared with `Scan()` in float64; a contender that disagrees has no
figure. The floor is the matmuls of the case alone, as XLA runs them.
[How figures are to be read](../../README.md#how-to-read-a-figure).
"""


def write_report(results: dict[str, Any], folder: Path) -> list[Path]:
    """Writes `<suite>.md` and one picture for each figure, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = plot_figures(results, folder)
    page = folder / f"{results['suite']}.md"
    page.write_text(markdown(results, [p.name for p in pictures]))
    return [page, *pictures]


def markdown(results: dict[str, Any], pictures: list[str]) -> str:
    """The page: machine, versions, method, pictures, tables and notes."""
    parts = [f"# Suite `{results['suite']}`", _run(results), METHOD.format(**results)]
    if not results["finished"]:
        parts.append("**The run was stopped before its end.**")
    parts += [f"![{name}]({name})" for name in pictures]
    parts += [_markdown_table(table) for table in tables(results)]
    lines = notes(results)
    if lines:
        parts.append("## Notes\n\n" + "\n".join(f"- {line}" for line in lines))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _run(results: dict[str, Any]) -> str:
    machine = results["machine"]
    parts = [where(machine)]
    parts += [f"{machine['memory_gib']} GiB"] if machine["memory_gib"] else []
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
    return f"## {table.title}\n\n{table.caption}\n\n" + "\n".join(lines)
