"""The run: gates first, then rounds in which the contenders take turns.

    round 1: A B C D, A E F G, ...    round 2: A B C D, A E F G, ...    ...

One is awake at a time; A is the reference of all ratios. When every case had its rounds,
all begin again with new processes.
"""

import copy
import dataclasses
import datetime
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..cases import Case, case_from_json
from ..peers import FLOOR, REFERENCE
from . import machine
from .client import Client, WorkerError
from .turns import STATISTIC, Figure, Settings, Turn, turns_of
from .worker import REFERENCE as SOLVER


FORMAT = 6
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
            len(self._clients) + rounds * len(case.figures)
            for process in range(self.settings.processes)
            for case in self._missing(process)
        )

    def _missing(self, process: int) -> list[Case]:
        """Cases that this process of the contenders has not been timed in, quickest first."""
        missing = [c for c in self.cases if self._entry(c)["processes"] <= process]
        return sorted(missing, key=lambda case: self._entry(case)["took"])

    def _entry(self, case: Case) -> dict[str, Any]:
        """What there is of a case."""
        found = (c for c in self.results["cases"] if c["name"] == case.name)
        new = {"name": case.name, "case": dataclasses.asdict(case)}
        return next(found, new | {"processes": 0, "prepared_in": 0.0, "took": 0.0})

    def resume(self, earlier: dict[str, Any]) -> None:
        """Keeps what an earlier run has measured of cases in which nothing failed.

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
            if not any("failed" in result for result in case["results"].values())
        ]

    def run(self) -> dict[str, Any]:
        """Runs everything. Stopped by Ctrl-C, it returns what there is."""
        start = time.perf_counter()
        try:
            with tempfile.TemporaryDirectory() as folder:
                self._introduce()
                for process in range(self.settings.processes):
                    for case in self._missing(process):
                        if process and not self._has_time(case, start):
                            break
                        self._keep(self._run_case(case, process, Path(folder)))
            self.results["finished"] = True
        except KeyboardInterrupt:
            self._line("stopped; this is what was finished")
        finally:
            for client in (*self._clients.values(), *self._solvers):
                client.stop()
        self.save(self.results)
        return self.results

    def _has_time(self, case: Case, start: float) -> bool:
        """Whether a case can have one more process."""
        entry, limit = self._entry(case), self.settings.limit
        spent = time.perf_counter() - start
        return limit is None or spent + entry["took"] / entry["processes"] < limit

    def _keep(self, entry: dict[str, Any]) -> None:
        """A case as it is now, in the place of what there was of it."""
        place = {case.name: i for i, case in enumerate(self.cases)}
        others = [c for c in self.results["cases"] if c["name"] != entry["name"]]
        self.results["cases"] = sorted(
            [*others, entry], key=lambda c: place.get(c["name"], -1)
        )
        self.save(self.results)

    def _line(self, text: str) -> None:
        self.results["lines"].append(text)
        self.say(text)

    def _introduce(self) -> None:
        """Who takes part, and who cannot."""
        self._warn_of_load()
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

    def _run_case(self, case: Case, process: int, folder: Path) -> dict[str, Any]:
        """What there is of a case when one more process of each contender was timed."""
        entry = copy.deepcopy(self._entry(case))
        start = time.perf_counter()
        if process == 0:
            entry["results"] = self._begun(case, folder)
        else:
            self._begin_again(case, entry["results"], folder)
        results = entry["results"]
        ready = {n: c for n, c in self._clients.items() if _is_right(results.get(n))}
        prepared = time.perf_counter() - start
        self._take_rounds(case, ready, results, process)
        if self.settings.memory and not case.single_steps and process == 0:
            for name in (n for n in ready if n != FLOOR):
                self._measure_memory(name, case, results[name])
        for name, client in ready.items():
            self._asked(name, client, "release")
        entry["prepared_in"] += prepared
        entry["took"] += time.perf_counter() - start
        return entry | {"processes": process + 1}

    def _begun(self, case: Case, folder: Path) -> dict[str, dict]:
        """What is known of everyone when those that can are compiled and gated."""
        results = {
            name: self._asked(name, client, "accept", case=dataclasses.asdict(case))
            for name, client in self._clients.items()
        }
        computed = {
            name: case_from_json(answer["computes"])
            for name, answer in results.items()
            if "computes" in answer
        }
        self._solve(computed, folder)

        def prepare(name: str) -> None:
            if name in computed:
                results[name] = self._gated(name, computed[name], folder)

        self._each(prepare, 1 if case.compile_time else 2)
        for file in folder.glob("*.npz"):
            file.unlink()
        return results

    def _begin_again(self, case: Case, results: dict[str, dict], folder: Path) -> None:
        """A new process of everyone whose gate was green."""

        def prepare(name: str) -> None:
            if _is_right(results.get(name)):
                computed = case.of_kind(results[name]["computes"])
                answer = self._prepared(name, computed, folder, None)
                if "failed" in answer:
                    results[name] |= {"failed": answer["failed"], "figures": {}}

        self._each(prepare, 2)

    def _each(self, prepare: Callable[[str], None], lanes: int) -> None:
        """Every contender, some of them at a time, while nobody is timed."""
        spins = {n: self.results["contenders"][n].get("spins") for n in self._clients}
        alone = [name for name in spins if spins[name]]
        others = [name for name in spins if not spins[name]]
        for count, names in ((1, alone), (lanes, others)):
            with ThreadPoolExecutor(count) as pool:
                for _ in pool.map(prepare, names):
                    self.advance()

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

    def _gated(self, name: str, computed: Case, folder: Path) -> dict[str, Any]:
        """What is known of a contender before it is timed."""
        reference = _reference(folder, computed)
        if not reference.exists():
            return {"failed": "no reference to compare it with"}
        prepared = self._prepared(name, computed, folder, str(reference))
        gate = prepared.get("gate")
        if gate is None:
            return prepared
        if gate["red"]:
            self._line(f"RED {name}, {computed.name}: {gate['shown']}")
        return prepared | {"computes": computed.kind, "figures": {}}

    def _prepared(
        self, name: str, computed: Case, folder: Path, reference: str | None
    ) -> dict[str, Any]:
        return self._asked(
            f"{name}, {computed.name}",
            self._clients[name],
            "prepare",
            case=dataclasses.asdict(computed),
            compiled=str(folder / "compiled" / name / computed.name),
            reference=reference,
        )

    def _asked(self, line: str, client: Client, do: str, **arguments: Any) -> dict:
        """The answer; a worker that fails or dies is one line, and an answer too."""
        try:
            answer = client.ask(do, **arguments)
        except WorkerError as error:
            answer = {"failed": str(error)}
        if "failed" in answer:
            self._line(f"{line}: {answer['failed']}")
        return answer

    def _take_rounds(
        self, case: Case, ready: dict[str, Client], results: dict, process: int
    ) -> None:
        """All figures in turn, so that each is spread over the time of all."""
        figures = {
            figure: Figure(
                {n: turns_of(results[n]["figures"].get(figure)) for n in ready},
                self.settings,
                process,
            )
            for figure in case.figures
        }
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
        """A turn of those who need one more; False if nobody does."""

        def take_turn(name: str) -> None:
            turn = self._turn(case, name, ready[name], figure)
            if isinstance(turn, Turn):
                figures[figure].add(name, turn)
                return
            results[name] |= {"failed": turn["failed"], "figures": {}}
            del ready[name]
            for other in figures.values():
                other.drop(name)

        going = figures[figure].going()
        for name in going:
            if name in ready:  # the reference comes again, though it failed
                take_turn(name)
        return bool(going)

    def _turn(self, case: Case, name: str, client: Client, figure: str) -> Turn | dict:
        """One turn, or how it failed."""
        line, seconds = f"{name}, {case.name}, {figure}", self.settings.turn
        start = time.perf_counter()
        answer = self._asked(line, client, "turn", figure=figure, seconds=seconds)
        client.settle()
        spent = time.perf_counter() - start
        if "failed" in answer:
            return answer
        return Turn(answer["seconds"], answer["calls"], spent)

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


def _is_right(result: dict[str, Any] | None) -> bool:
    """Whether a contender may be timed: its gate is green, and it did not fail since."""
    if result is None or "gate" not in result or "failed" in result:
        return False
    return not result["gate"]["red"]


def _reference(folder: Path, case: Case) -> Path:
    return folder / f"{case.name}.npz"
