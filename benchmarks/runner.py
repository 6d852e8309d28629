"""The run: gates first, then rounds in which the contenders take turns.

    round 1: A B C ...    round 2: A B C ...    round 3: ...

One is awake at a time. A turn gives the fastest of its calls, and a figure is its fastest
turn: turns lie apart, so that what slows the machine for a while does not reach all of them.
The reference runs between the rounds, and tells by its own time which of them were calm.
"""

import dataclasses
import datetime
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import machine
from .cases import Case, case_from_json
from .client import Client, WorkerError
from .peers import FLOOR, REFERENCE
from .worker import REFERENCE as SOLVER


FORMAT = 3
"""Of the results; a file of another one is not read."""


@dataclass(frozen=True)
class Settings:
    """How long is measured.

    Attributes:
        seconds: for each figure of each contender, over all its turns.
        turn: seconds of one of them; one call at least.
        fewest: turns that a figure gets, however long its calls are.
        agreement: how far its two fastest turns may be apart. If they are further, or if
            less than two fell into calm rounds, there are more.
        rounds: how many there are at most.
        most: seconds after which it gets no more of them.
        memory: also measures resident memory, in a fresh process each.
        keep_memory: whether workers keep the memory that they free for their next call.
        patience: seconds after which a worker that does not answer is given up.
    """

    seconds: float = 0.5
    turn: float = 0.035
    fewest: int = 3
    agreement: float = 0.05
    rounds: int = 16
    most: float = 3.0
    memory: bool = False
    keep_memory: bool = True
    patience: float = 300.0


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
            "reference": REFERENCE,
            "contenders": {},
            "cases": [],
            "lines": [],
            "finished": False,
        }

    @property
    def total(self) -> int:
        """How often `advance` is called: once a contender to prepare, and once a figure."""
        return sum(
            len(self._clients) * (1 + len(case.figures)) for case in self._missing()
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
            "load": machine.load(),
            "results": results,
        }
        self.results["cases"].append(entry)
        start = time.perf_counter()
        ready: dict[str, Client] = {}
        answers = {
            name: self._asked(name, client, "accept", case=dataclasses.asdict(case))
            for name, client in self._clients.items()
        }
        self._solve(
            [a["computes"] for a in answers.values() if "computes" in a], folder
        )
        for name, client in self._clients.items():
            results[name] = self._prepared(name, client, case, answers[name], folder)
            if "gate" in results[name] and not results[name]["gate"]["red"]:
                ready[name] = client
            self.advance()
        entry["prepared_in"] = time.perf_counter() - start
        for figure in case.figures:
            self._run_figure(case, figure, ready, results)
        if self.settings.memory and not case.single_steps:
            for name in (n for n in ready if n != FLOOR):
                self._measure_memory(name, case, results[name])
        for name, client in ready.items():
            self._asked(name, client, "release")
        for file in folder.iterdir():
            file.unlink()
        entry["took"] = time.perf_counter() - start

    def _solve(self, computed: list[dict], folder: Path) -> None:
        """The references of all that is computed; two at a time, since nothing is timed."""
        cases = {case.name: case for case in map(case_from_json, computed)}.values()

        def solve(task: tuple[Case, Client]) -> None:
            case, solver = task
            self._asked(
                f"reference of {case.name}",
                solver,
                "solve",
                case=dataclasses.asdict(case),
                path=str(_reference(folder, case)),
            )

        tasks = list(zip(cases, itertools.cycle(self._solvers), strict=False))
        lanes = [tasks[i :: len(self._solvers)] for i in range(len(self._solvers))]
        with ThreadPoolExecutor(len(lanes)) as pool:
            list(pool.map(lambda lane: list(map(solve, lane)), lanes))

    def _prepared(
        self, name: str, client: Client, case: Case, answer: dict, folder: Path
    ) -> dict[str, Any]:
        """What is known of a contender once it is built: its gate above all."""
        if "computes" not in answer:
            return answer
        computed = case_from_json(answer["computes"])
        reference = _reference(folder, computed)
        if not reference.exists():
            return {"failed": "no reference to compare it with"}
        built = self._asked(
            f"{name}, {case.name}",
            client,
            "prepare",
            case=dataclasses.asdict(computed),
            reference=str(reference),
        )
        if "red" not in built:
            return built
        if built["red"]:
            self._line(f"RED {name}, {case.name}: {built['shown']}")
        gate = {key: built.pop(key) for key in ("red", "shown", "errors", "bounds")}
        return built | {"computes": computed.kind, "gate": gate, "figures": {}}

    def _asked(self, line: str, client: Client, do: str, **arguments: Any) -> dict:
        """The answer; a worker that fails or dies is one line, and an answer too."""
        try:
            answer = client.ask(do, **arguments)
        except WorkerError as error:
            answer = {"failed": str(error)}
        if "failed" in answer:
            self._line(f"{line}: {answer['failed']}")
        return answer

    def _run_figure(
        self, case: Case, figure: str, ready: dict[str, Client], results: dict
    ) -> None:
        """Rounds of those who need one more turn, the reference between them."""
        rounds: dict[str, list[float]] = {name: [] for name in ready}
        calls = dict.fromkeys(ready, 0)
        spent = dict.fromkeys(ready, 0.0)

        def take_turn(name: str) -> None:
            start = time.perf_counter()
            turn = self._turn(case, name, ready[name], figure)
            spent[name] += time.perf_counter() - start
            if turn is None:
                # No figure from it, nor from the figures after this one.
                del rounds[name], ready[name]
            else:
                rounds[name].append(turn["seconds"])
                calls[name] += turn["calls"]

        for _ in range(self.settings.rounds):
            if REFERENCE in rounds:
                take_turn(REFERENCE)
            calm = self._calm(rounds.get(REFERENCE))
            going = [
                name
                for name, turns in rounds.items()
                if not self._settled(turns, spent[name], calm)
            ]
            if not going:
                break
            for name in (n for n in going if n != REFERENCE):
                take_turn(name)
        for name, summary in summarised(rounds).items():
            results[name]["figures"][figure] = summary | {"calls": calls[name]}
        for _ in self._clients:
            self.advance()

    def _calm(self, reference: list[float] | None) -> list[bool]:
        """Of each round, whether the reference was fast before and after it.

        Without one, all of them are.
        """
        if not reference:
            return [True] * self.settings.rounds
        bound = (1 + 2 * self.settings.agreement) * min(reference)
        return [max(pair) <= bound for pair in itertools.pairwise(reference)]

    def _settled(self, turns: list[float], spent: float, calm: list[bool]) -> bool:
        """Whether more turns would hardly be faster."""
        settings = self.settings
        if len(turns) < settings.fewest or spent < settings.seconds:
            return False
        if spent > settings.most:
            return True
        first, second = sorted(turns)[:2]
        agree = second <= (1 + settings.agreement) * first
        return agree and sum(calm[: len(turns)]) >= 2

    def _turn(self, case: Case, name: str, client: Client, figure: str) -> dict | None:
        seconds = self.settings.turn
        line = f"{name}, {case.name}, {figure}"
        answer = self._asked(line, client, "turn", figure=figure, seconds=seconds)
        client.settle()
        return None if "failed" in answer else answer

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


def summarised(rounds: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Figures of one case from the turns of each contender, round by round.

    `seconds` are of the fastest turn, and ratios of fastest turns: others on the machine
    can only slow a turn down, and do by half for a while. `ratio` is to the reference, so
    that 2 takes twice its time; `floor_share` is what part of the time the matrix products
    alone would take. `spread` is how far the next turn is behind; `median` is of all turns,
    and `median_ratio` of the ratios within each round.
    """
    reference, floor = rounds.get(REFERENCE), rounds.get(FLOOR)
    figures = {}
    for name, turns in rounds.items():
        figure: dict[str, Any] = {
            "seconds": min(turns),
            "median": statistics.median(turns),
            "spread": _spread(turns),
            "rounds": turns,
        }
        if reference:
            # some had more turns than others
            ratios = [a / b for a, b in zip(turns, reference, strict=False)]
            figure["ratio"] = min(turns) / min(reference)
            figure["median_ratio"] = statistics.median(ratios)
        if floor:
            figure["floor_share"] = min(floor) / min(turns)
        figures[name] = figure
    return figures


def _spread(turns: list[float]) -> float:
    fastest, *others = sorted(turns)
    return min(others) / fastest - 1 if others else 0.0
