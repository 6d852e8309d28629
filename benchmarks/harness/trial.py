"""One task in one process of each contender: solve, prepare, take turns, release.

    round 1: A B C D, A E F G, ...    round 2: A B C D, A E F G, ...    ...

One contender is awake at a time; A is the reference of all ratios.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .client import Client, WorkerError
from .turns import Figure, Settings, Turn, summarize, turns_of


Results = dict[str, dict[str, Any]]
"""The result of each contender: figures, or why there are none."""


@dataclass(frozen=True)
class Task:
    """One thing that contenders do.

    Attributes:
        name: unique in a run.
        figures: names of what is timed.
        spec: the task, as its contenders understand it.
        one_by_one: whether contenders are prepared one after the other, since that is
            timed as well.
        memory: whether resident memory is measured.
    """

    name: str
    figures: tuple[str, ...]
    spec: dict[str, Any]
    one_by_one: bool = False
    memory: bool = False


@dataclass(frozen=True)
class Team:
    """The processes of a run, and where its messages go.

    Attributes:
        clients: the contenders, in the order of their turns.
        solvers: processes that compute reference answers.
        reference: name of the contender that ratios refer to.
        floor: name of the contender that is a lower bound.
        spins: names of contenders that must be prepared alone: their threads wait by
            spinning, which takes ten times as long while others compute.
        say: called with each message.
    """

    clients: dict[str, Client]
    solvers: list[Client]
    reference: str
    floor: str
    say: Callable[[str], None]
    spins: set[str] = field(default_factory=set)


class Trial:
    """One task in one process of each contender.

    Args:
        task: the task.
        team: the processes.
        settings: how long to measure.
        folder: a temporary folder of the run.
        process: number of the process; results are gated in the first, 0.
    """

    def __init__(
        self, task: Task, team: Team, settings: Settings, folder: Path, process: int
    ) -> None:
        self.task, self.team, self.settings = task, team, settings
        self.folder, self.process = folder, process

    def begin(self) -> Results:
        """Prepares and gates all contenders that accept the task."""
        results = {
            name: self._ask(name, client, "accept", spec=self.task.spec)
            for name, client in self.team.clients.items()
        }
        accepted = [name for name in results if "computes" in results[name]]
        self._solve({results[name]["computes"] for name in accepted})

        def prepare(name: str) -> None:
            if name in accepted:
                results[name] |= self._gated(name, results[name]["computes"])

        self.each(prepare, 1 if self.task.one_by_one else 2)
        for file in self.folder.glob("*.npz"):
            file.unlink()
        return results

    def begin_again(self, results: Results) -> None:
        """Prepares a new process of each contender whose gate was green."""

        def prepare(name: str) -> None:
            if _may_be_timed(results.get(name)):
                answer = self._prepare(name, results[name]["computes"], None)
                if "failed" in answer:
                    results[name] |= {"failed": answer["failed"], "figures": {}}

        self.each(prepare, 2)

    def measure(self, results: Results) -> None:
        """Times all contenders that are prepared, and adds their figures."""
        ready = {
            name: client
            for name, client in self.team.clients.items()
            if _may_be_timed(results.get(name))
        }
        self.take_rounds(ready, results)
        if self.task.memory and self.process == 0:
            for name in (n for n in ready if n != self.team.floor):
                self._measure_memory(name, results[name])
        for name, client in ready.items():
            self._ask(name, client, "release")

    def each(self, prepare: Callable[[str], None], at_once: int) -> None:
        """Calls `prepare` for every contender, while none is timed."""
        alone = [name for name in self.team.clients if name in self.team.spins]
        others = [name for name in self.team.clients if name not in self.team.spins]
        for count, names in ((1, alone), (at_once, others)):
            with ThreadPoolExecutor(count) as pool:
                list(pool.map(prepare, names))

    def take_rounds(self, ready: dict[str, Client], results: Results) -> None:
        """Measures all figures by turns, so that each is spread over the same time."""
        figures = {
            figure: Figure(
                {n: turns_of(results[n]["figures"].get(figure)) for n in ready},
                self.settings,
                self.team.reference,
                self.process,
            )
            for figure in self.task.figures
        }
        for _ in range(self.settings.rounds):
            for figure in figures:
                self._round(figure, figures, ready, results)
        for figure, found in figures.items():
            summary = summarize(found.turns, self.team.reference, self.team.floor)
            for name, summarized in summary.items():
                results[name]["figures"][figure] = summarized

    def _round(
        self,
        figure: str,
        figures: dict[str, Figure],
        ready: dict[str, Client],
        results: Results,
    ) -> None:
        """One turn of each contender that needs one."""
        for name in figures[figure].next_turns():
            if name not in ready:  # it failed, and the round was planned before
                continue
            turn = self.turn(name, ready[name], figure)
            if isinstance(turn, Turn):
                figures[figure].add(name, turn)
                continue
            results[name] |= {"failed": turn["failed"], "figures": {}}
            del ready[name]
            for other in figures.values():
                other.drop(name)

    def turn(self, name: str, client: Client, figure: str) -> Turn | dict[str, Any]:
        """One turn, or the answer that says how it failed."""
        start, seconds = time.perf_counter(), self.settings.turn
        what = f"{name}, {self.task.name}, {figure}"
        answer = self._ask(what, client, "turn", figure=figure, seconds=seconds)
        client.settle()
        if "failed" in answer:
            return answer
        elapsed = time.perf_counter() - start
        return Turn(answer["seconds"], answer["calls"], elapsed)

    def _solve(self, variants: set[str]) -> None:
        """Writes the reference answers of all variants of the task."""
        ordered, solvers = sorted(variants), self.team.solvers

        def solve(index: int) -> None:
            for variant in ordered[index :: len(solvers)]:
                self._ask(
                    f"reference of {self.task.name} ({variant})",
                    solvers[index],
                    "solve",
                    spec=self.task.spec,
                    computes=variant,
                    path=str(self._reference(variant)),
                )

        with ThreadPoolExecutor(len(solvers)) as pool:
            list(pool.map(solve, range(len(solvers))))

    def _reference(self, variant: str) -> Path:
        return self.folder / f"{self.task.name}-{variant}.npz"

    def _gated(self, name: str, variant: str) -> dict[str, Any]:
        """The answer of a contender that was prepared, with room for its figures."""
        reference = self._reference(variant)
        if not reference.exists():
            return {"failed": "no reference to compare it with"}
        answer = self._prepare(name, variant, str(reference))
        if "gate" not in answer:
            return answer
        if answer["gate"]["red"]:
            self.team.say(f"RED {name}, {self.task.name}: {answer['gate']['shown']}")
        return answer | {"figures": {}}

    def _prepare(self, name: str, variant: str, reference: str | None) -> dict:
        return self._ask(
            f"{name}, {self.task.name}",
            self.team.clients[name],
            "prepare",
            spec=self.task.spec,
            computes=variant,
            reference=reference,
            compiled=str(self.folder / "compiled" / name / self.task.name),
        )

    def _measure_memory(self, name: str, result: dict[str, Any]) -> None:
        """Resident memory, in a process that has run nothing else."""
        client = Client(self.team.clients[name].contender, self.settings.timeout)
        arguments = {"spec": self.task.spec, "computes": result["computes"]}
        try:
            what = f"{name}, {self.task.name}, memory"
            answer = self._ask(what, client, "memory", **arguments)
            if "failed" not in answer:
                result["memory"] = answer
        finally:
            client.stop()

    def _ask(self, what: str, client: Client, do: str, **arguments: Any) -> dict:
        """The answer to a request; a worker that fails or dies gives one as well."""
        try:
            answer = client.ask(do, **arguments)
        except WorkerError as error:
            answer = {"failed": str(error)}
        if "failed" in answer:
            self.team.say(f"{what}: {answer['failed']}")
        return answer


def _may_be_timed(result: dict[str, Any] | None) -> bool:
    """Whether a contender's gate is green, and it has not failed since."""
    if result is None or "gate" not in result or "failed" in result:
        return False
    return not result["gate"]["red"]
