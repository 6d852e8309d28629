"""The results of an experiment as a JSON file, and as tables in the READMEs."""

import json
from dataclasses import asdict, dataclass, field
from statistics import mean, stdev
from typing import Any

import jax

from benchmarks.harness.machine import describe_machine, versions

from ._options import arguments, settings
from ._run import RESULTS, Run, write_whole


@dataclass(frozen=True)
class Result:
    """One measure of one model: a line of the tables.

    Attributes:
        task: what the model does, and the shape, such as "speaker (many-to-one)".
        cell: the recurrent cell, such as "GRU".
        parameters: the number of parameters of the model.
        measure: the name of the measure, with its unit.
        values: one value for each seed, fold or speaker.
        seconds: seconds of training, for all values.
        goal: the goal, such as "at least 0.98"; empty if there is none.
        baselines: values of simpler methods on the same data, by name.
        published: values of others by source, each with author and year.
        digits: decimals that are shown.
        headline: False to leave it out of the table of all experiments.
    """

    task: str
    cell: str
    parameters: int
    measure: str
    values: tuple[float, ...]
    seconds: float
    goal: str = ""
    baselines: dict[str, float] = field(default_factory=dict)
    published: dict[str, float] = field(default_factory=dict)
    digits: int = 3
    headline: bool = True


@dataclass(frozen=True)
class Results:
    """All results of an experiment, and other facts that its README quotes."""

    rows: tuple[Result, ...]
    facts: dict[str, Any] = field(default_factory=dict)


def count(params: Any) -> int:
    """The number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def write_results(run: Run, experiment: str, results: Results) -> None:
    """Writes `results.json` with the settings, the time, the machine and the versions."""
    options, machine = arguments(run.options), describe_machine()
    content = {
        "experiment": experiment,
        "command": f"python -m experiments run {experiment} {options}".strip(),
        "settings": settings(run.options),
        "rows": [asdict(row) for row in results.rows],
        "facts": results.facts,
        "seconds": round(run.seconds, 1),
        "machine": f"{machine['cpu']}, {machine['cores']} cores",
        "versions": versions(("jax", "jaxlib", "jaxrnn", "optax", "numpy")),
    }
    write_whole(run.folder / RESULTS, json.dumps(content, indent=1) + "\n")


COLUMNS = "task cell parameters seconds result goal baseline published".split()


def table(results: dict[str, Any], *, headlines: bool = False) -> list[list[str]]:
    """The cells of the table of one `results.json`, a list for each row."""
    rows = [Result(**row) for row in results["rows"]]
    return [_cells(row) for row in rows if row.headline or not headlines]


def _cells(row: Result) -> list[str]:
    show = lambda value: f"{value:.{row.digits}f}"
    several = lambda named: ", ".join(f"{name} {show(v)}" for name, v in named.items())
    result = f"{row.measure} **{show(mean(row.values))}**"
    if len(row.values) > 1:
        result += f" ± {show(stdev(row.values))} (n = {len(row.values)})"
    return [
        row.task,
        row.cell,
        f"{row.parameters:,}",
        f"{row.seconds:,.0f}",
        result,
        row.goal,
        several(row.baselines),
        several(row.published),
    ]


def markdown(columns: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
