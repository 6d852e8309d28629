"""The run: gates first, then rounds in which the contenders take turns.

    round 1: A B C ...    round 2: A B C ...    round 3: ...

One is awake at a time.
"""

import dataclasses
import datetime
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import machine
from .cases import Case, case_from_json
from .client import Client, WorkerError
from .cores import Cores
from .peers import FLOOR, REFERENCE
from .rounds import STATISTIC, Figure, Settings, Turn
from .worker import REFERENCE as SOLVER


FORMAT = 4
"""Of the results; a file of another one is not read."""


class Runner:
    """One run over cases and contenders.

    Args:
        suite: its name, for the results.
        cases: what is measured.
        names: the contenders, in their order of turns.
        settings: how long.

    Attributes:
        results: what there is so far.
        say: called with each line that a reader should see; printed by default.
        advance: called as work is done, `total` times; to be set by who wants to know.
        save: called with the results after each case; to be set as well.
    """

    def __init__(
        self,
        suite: str,
        cases: tuple[Case, ...],
        names: tuple[str, ...],
        settings: Settings,
    ) -> None:
        self.cases, self.settings = cases, settings
        self.say: Callable[[str], None] = print
        self.advance: Callable[[], None] = lambda: None
        self.save: Callable[[dict], None] = lambda results: None
        self._clients = {
            name: Client(name, settings.patience, settings.keep_memory)
            for name in names
        }
        self._cores = Cores()
        self._solvers = [Client(SOLVER, settings.patience) for _ in range(2)]
        self.results: dict[str, Any] = {
            "format": FORMAT,
            "suite": suite,
            "started": datetime.datetime.now(datetime.UTC).isoformat(
                timespec="seconds"
            ),
            "machine": machine.describe_machine(),
            "versions": machine.versions(),
            "load_at_start": machine.load(),
            "settings": dataclasses.asdict(settings),
            "statistic": STATISTIC,
            "reference": REFERENCE,
            "contenders": {},
            "cases": [],
            "lines": [],
            "finished": False,
        }

    @property
    def total(self) -> int:
        """How often `advance` is called: once a contender to prepare, and once a round."""
        rounds = self.settings.rounds
        return sum(
            len(self._clients) + rounds * len(case.figures) for case in self._missing()
        )

    def _missing(self) -> list[Case]:
        kept = {case["name"] for case in self.results["cases"]}
        return [case for case in self.cases if case.name not in kept]

    def resume(self, earlier: dict[str, Any]) -> None:
        """Keeps the cases of an earlier run that were finished, and in which nothing failed.

        Raises:
            ValueError: if that was not a run of the same suite, on the same machine, of the
                same versions and settings.
        """
        for what in ("suite", "settings", "versions"):
            if earlier[what] != self.results[what]:
                raise ValueError(
                    f"cannot resume: {what} was {earlier[what]}, and is "
                    f"{self.results[what]}; run without --resume."
                )
        names = [run["machine"]["name"] for run in (earlier, self.results)]
        if names[0] != names[1]:
            raise ValueError(f"cannot resume on {names[1]} what {names[0]} began.")
        self.results["cases"] = [
            case
            for case in earlier["cases"]
            if "took" in case
            and not any("failed" in result for result in case["results"].values())
        ]

    def run(self) -> dict[str, Any]:
        """Runs everything. Stopped by Ctrl-C, it returns what there is."""
        try:
            with tempfile.TemporaryDirectory() as folder:
                self._introduce()
                place = {case.name: i for i, case in enumerate(self.cases)}
                for case in self._missing():
                    self._run_case(case, Path(folder))
                    self.results["cases"].sort(key=lambda c: place.get(c["name"], -1))
                    self.save(self.results)
            self.results["finished"] = True
        except KeyboardInterrupt:
            self._line("stopped; these are the cases that were finished")
        finally:
            self._cores.stop()
            for client in (*self._clients.values(), *self._solvers):
                client.stop()
        self.save(self.results)
        return self.results

    def _line(self, text: str) -> None:
        self.results["lines"].append(text)
        self.say(text)

    def _introduce(self) -> None:
        """Who takes part, and who cannot."""
        self._warn_of_load()
        self._cores.start()
        for client in (*self._solvers, *self._clients.values()):
            client.start()
        try:
            self.results["machine"] |= self._solvers[0].ask("hello")
        except WorkerError as error:
            self._line(f"no reference: {error}")
        for name in tuple(self._clients):
            try:
                answer = self._clients[name].ask("hello")
            except WorkerError as error:
                answer = {"failed": str(error)}
            self.results["contenders"][name] = answer
            reason = answer.get("absent") or answer.get("failed")
            if reason:
                self._line(f"{name}: {reason}")
                self._clients.pop(name).stop()

    def _warn_of_load(self) -> None:
        load, cores = self.results["load_at_start"], self.results["machine"]["cores"]
        if load and load[0] > 0.3 * cores:
            self._line(
                f"the load average is {load[0]} on {cores} cores: others are at work here, "
                "and figures will scatter"
            )

    def _run_case(self, case: Case, folder: Path) -> None:
        results: dict[str, dict] = {}
        entry: dict[str, Any] = {
            "name": case.name,
            "case": dataclasses.asdict(case),
            "results": results,
        }
        self.results["cases"].append(entry)
        start = time.perf_counter()
        answers = {
            name: self._asked(name, client, "accept", case=dataclasses.asdict(case))
            for name, client in self._clients.items()
        }
        computed = {
            name: case_from_json(answer["computes"])
            for name, answer in answers.items()
            if "computes" in answer
        }
        self._solve(computed, folder)
        for name, client in self._clients.items():
            results[name] = answers[name]
            if name in computed:
                results[name] = self._prepared(name, client, computed[name], folder)
            self.advance()
        ready = {
            name: client
            for name, client in self._clients.items()
            if "gate" in results[name] and not results[name]["gate"]["red"]
        }
        entry["prepared_in"] = time.perf_counter() - start
        self._take_rounds(case, ready, results)
        if self.settings.memory and not case.single_steps:
            for name in (n for n in ready if n != FLOOR):
                self._measure_memory(name, case, results[name])
        for name, client in ready.items():
            self._asked(name, client, "release")
        for file in folder.iterdir():
            file.unlink()
        entry["took"] = time.perf_counter() - start

    def _solve(self, computed: dict[str, Case], folder: Path) -> None:
        """The references of all that is computed."""
        cases = {case.name: case for case in computed.values()}.values()

        def solve(lane: int) -> None:
            for case in list(cases)[lane :: len(self._solvers)]:
                self._asked(
                    f"reference of {case.name}",
                    self._solvers[lane],
                    "solve",
                    case=dataclasses.asdict(case),
                    path=str(_reference(folder, case)),
                )

        with ThreadPoolExecutor(len(self._solvers)) as pool:
            list(pool.map(solve, range(len(self._solvers))))

    def _prepared(
        self, name: str, client: Client, computed: Case, folder: Path
    ) -> dict[str, Any]:
        """What is known of a contender before it is timed, while all others sleep."""
        if not _reference(folder, computed).exists():
            return {"failed": "no reference to compare it with"}
        line = f"{name}, {computed.name}"
        prepared = self._asked(
            line,
            client,
            "prepare",
            case=dataclasses.asdict(computed),
            reference=str(_reference(folder, computed)),
        )
        gate = prepared.get("gate")
        if gate is None:
            return prepared
        if gate["red"]:
            self._line(f"RED {line}: {gate['shown']}")
        return prepared | {"computes": computed.kind, "figures": {}}

    def _asked(self, line: str, client: Client, do: str, **arguments: Any) -> dict:
        """The answer; a worker that fails or dies is one line, and an answer too."""
        try:
            answer = client.ask(do, **arguments)
        except WorkerError as error:
            answer = {"failed": str(error)}
        if "failed" in answer:
            self._line(f"{line}: {answer['failed']}")
        return answer

    def _take_rounds(self, case: Case, ready: dict[str, Client], results: dict) -> None:
        """All figures in turn, so that each is spread over the time of all."""
        figures = {name: Figure(ready, self.settings) for name in case.figures}
        going = list(figures)
        for _ in range(self.settings.rounds):
            going = [
                name
                for name in going
                if self._round(case, name, figures, ready, results)
            ]
            for _ in figures:
                self.advance()
        for figure, found in figures.items():
            for name, summary in found.summary().items():
                results[name]["figures"][figure] = summary

    def _round(
        self,
        case: Case,
        figure: str,
        figures: dict[str, Figure],
        ready: dict[str, Client],
        results: dict[str, dict],
    ) -> bool:
        """A turn of the reference, then of those who need one more; False if none does."""

        def take_turn(name: str) -> None:
            turn = self._turn(case, name, ready[name], figure)
            if isinstance(turn, Turn):
                figures[figure].add(name, turn)
                return
            results[name]["failed"] = turn["failed"]
            del ready[name]
            for other in figures.values():
                other.drop(name)

        if REFERENCE in ready:
            take_turn(REFERENCE)
        going = figures[figure].going()
        for name in (n for n in going if n != REFERENCE):
            take_turn(name)
        return bool(going)

    def _turn(self, case: Case, name: str, client: Client, figure: str) -> Turn | dict:
        """One turn, or how it failed."""
        line, seconds = f"{name}, {case.name}, {figure}", self.settings.turn
        near = case.single_steps or self._cores.bring_near(self.settings.near)
        start = time.perf_counter()
        answer = self._asked(line, client, "turn", figure=figure, seconds=seconds)
        client.settle()
        spent = time.perf_counter() - start
        if "failed" in answer:
            return answer
        near = near and (case.single_steps or self._cores.near())
        return Turn(answer["seconds"], answer["calls"], spent, near)

    def _measure_memory(self, name: str, case: Case, result: dict) -> None:
        """In a process that has run nothing else."""
        client = Client(name, self.settings.patience)
        try:
            computed = dataclasses.asdict(case.of_kind(result["computes"]))
            line = f"{name}, {case.name}, memory"
            answer = self._asked(line, client, "memory", case=computed)
            if "failed" not in answer:
                result["memory"] = answer
        finally:
            client.stop()


def _reference(folder: Path, case: Case) -> Path:
    return folder / f"{case.name}.npz"
