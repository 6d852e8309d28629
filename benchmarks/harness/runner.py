"""A run: every task in the first process of each contender, then in the next ones.

Processes are minutes apart, since some minutes are slow, and a program can be much slower
in one process than in the next.
"""

import copy
import dataclasses
import datetime
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import machine
from .client import Client, WorkerError
from .trial import Task, Team, Trial
from .turns import STATISTIC, Settings


FORMAT = 7
"""Version of the results' keys."""

Arguments = tuple[str, ...]
"""`module:function` that returns a contender in its worker, and its arguments."""


class Runner:
    """One run over tasks and contenders.

    Args:
        suite: name of the run, for the results.
        tasks: the tasks.
        contenders: by name, in the order of their turns.
        solver: computes the reference answers.
        settings: how long to measure.
        reference: the contender that ratios refer to.
        floor: the contender that is a lower bound.
        distributions: packages whose versions are recorded.

    Attributes:
        results: the results so far, as they are stored.
        say: called with each message; prints it by default.
        save: called with the results after each process of each task, `total` times.
    """

    def __init__(
        self,
        suite: str,
        tasks: tuple[Task, ...],
        contenders: dict[str, Arguments],
        solver: Arguments,
        settings: Settings,
        *,
        reference: str,
        floor: str,
        distributions: tuple[str, ...] = (),
    ) -> None:
        self.tasks, self.settings = tasks, settings
        self.say: Callable[[str], None] = print
        self.save: Callable[[dict], None] = lambda results: None
        self.team = Team(
            clients={
                name: Client(arguments, settings.timeout, settings.keep_memory)
                for name, arguments in contenders.items()
            },
            solvers=[Client(solver, settings.timeout) for _ in range(2)],
            reference=reference,
            floor=floor,
            say=self._say,
        )
        self.results = self._no_results(suite, distributions)

    @property
    def total(self) -> int:
        """The number of processes of tasks that are left to be measured."""
        return sum(len(self._missing(i)) for i in range(self.settings.processes))

    def resume(self, earlier: dict[str, Any]) -> None:
        """Keeps the tasks of an earlier run in which nothing failed.

        Raises:
            ValueError: if it was a run of another suite, machine, version or setting.
        """
        for key in ("suite", "settings", "versions"):
            if earlier[key] != self.results[key]:
                raise ValueError(
                    f"cannot resume: {key} was {earlier[key]}, and is "
                    f"{self.results[key]}; run without --resume."
                )
        names = [run["machine"]["name"] for run in (earlier, self.results)]
        if names[0] != names[1]:
            raise ValueError(
                f"cannot resume a run of {names[0]} on {names[1]}; run without --resume."
            )
        self.results["cases"] = [
            entry
            for entry in earlier["cases"]
            if not any("failed" in result for result in entry["results"].values())
        ]

    def run(self) -> dict[str, Any]:
        """Runs everything, and returns the results; Ctrl-C ends it earlier."""
        start = time.perf_counter()
        try:
            with tempfile.TemporaryDirectory() as folder:
                self._introduce()
                for process in range(self.settings.processes):
                    for task in self._missing(process):
                        if process and not self._has_time(task, start):
                            break
                        self._keep(self._measured(task, process, Path(folder)))
            self.results["finished"] = True
        except KeyboardInterrupt:
            self._say("stopped; the results have the cases finished so far")
        finally:
            for client in (*self.team.clients.values(), *self.team.solvers):
                client.stop()
        self.save(self.results)
        return self.results

    def _no_results(self, suite: str, distributions: tuple[str, ...]) -> dict[str, Any]:
        now = datetime.datetime.now(datetime.UTC)
        return {
            "format": FORMAT,
            "suite": suite,
            "started": now.isoformat(timespec="seconds"),
            "machine": machine.describe_machine(),
            "versions": machine.versions(distributions),
            "load_at_start": machine.load(),
            "settings": dataclasses.asdict(self.settings),
            "statistic": STATISTIC,
            "reference": self.team.reference,
            "floor": self.team.floor,
            "contenders": {},
            "cases": [],
            "lines": [],
            "finished": False,
        }

    def _missing(self, process: int) -> list[Task]:
        """Tasks that were not measured in this process yet, the quickest first."""
        missing = [t for t in self.tasks if self._entry(t)["processes"] <= process]
        return sorted(missing, key=lambda task: self._entry(task)["elapsed"])

    def _entry(self, task: Task) -> dict[str, Any]:
        """The results of a task so far."""
        found = (e for e in self.results["cases"] if e["name"] == task.name)
        new = {"name": task.name, "case": task.spec, "processes": 0, "elapsed": 0.0}
        return next(found, new)

    def _has_time(self, task: Task, start: float) -> bool:
        """Whether there is time for one more process of a task."""
        entry, limit = self._entry(task), self.settings.time_limit
        elapsed = time.perf_counter() - start
        return limit is None or elapsed + entry["elapsed"] / entry["processes"] < limit

    def _measured(self, task: Task, process: int, folder: Path) -> dict[str, Any]:
        """The results of a task with those of one more process of each contender."""
        entry = copy.deepcopy(self._entry(task))
        start = time.perf_counter()
        trial = Trial(task, self.team, self.settings, folder, process)
        if process == 0:
            entry["results"] = trial.begin()
        else:
            trial.begin_again(entry["results"])
        trial.measure(entry["results"])
        elapsed = entry["elapsed"] + time.perf_counter() - start
        return entry | {"elapsed": elapsed, "processes": process + 1}

    def _keep(self, entry: dict[str, Any]) -> None:
        """Stores the results of a task in the place of its earlier ones."""
        place = {task.name: i for i, task in enumerate(self.tasks)}
        others = [e for e in self.results["cases"] if e["name"] != entry["name"]]
        self.results["cases"] = sorted(
            [*others, entry], key=lambda e: place.get(e["name"], -1)
        )
        self.save(self.results)

    def _say(self, line: str) -> None:
        self.results["lines"].append(line)
        self.say(line)

    def _introduce(self) -> None:
        """Starts all workers, and drops the contenders that cannot run."""
        self._warn_of_load()
        clients, solvers = self.team.clients, self.team.solvers
        for client in (*solvers, *clients.values()):
            client.start()
        try:
            self.results["machine"] |= solvers[0].ask("hello")
        except WorkerError as error:
            self._say(f"no reference: {error}")
        for name in tuple(clients):
            try:
                answer = clients[name].ask("hello")
            except WorkerError as error:
                answer = {"failed": str(error)}
            self.results["contenders"][name] = answer
            if answer.get("spins"):
                self.team.spins.add(name)
            if reason := answer.get("absent") or answer.get("failed"):
                self._say(f"{name}: {reason}")
                clients.pop(name).stop()

    def _warn_of_load(self) -> None:
        load, cores = self.results["load_at_start"], self.results["machine"]["cores"]
        if load and load[0] > 0.3 * cores:
            self._say(
                f"the load average is {load[0]} on {cores} cores: other programs are "
                "running, and times will scatter"
            )
