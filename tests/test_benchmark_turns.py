"""Turns of a benchmark, and the figures that are computed from them."""

import dataclasses
import threading

import numpy as np
import pytest

from benchmarks import cases
from benchmarks.contender import CONTENDER
from benchmarks.harness import client, runner, trial, turns, worker


REFERENCE, FLOOR = "reference", "floor"


def task(*figures, name="task"):
    return trial.Task(name, figures, {})


def make_runner(tasks, settings, contenders=(), kind=runner.Runner):
    """A run whose workers are never started."""
    named = dict.fromkeys(contenders, ("nowhere:nothing",))
    return kind(
        "smoke", tasks, named, ("nowhere:nothing",), settings,
        reference=REFERENCE, floor=FLOOR,
    )  # fmt: skip


def scripted(answer, names, settings, figures=("forward",)):
    """The rounds of a task in which `answer(name, figure)` stands for a turn."""

    class Scripted(trial.Trial):
        def turn(self, name, client, figure):
            return answer(name, figure)

    team = make_runner((), settings, names).team
    found = Scripted(task(*figures), team, settings, None, 0)
    ready, results = dict.fromkeys(names), {name: {"figures": {}} for name in names}
    found.take_rounds(ready, results)
    return results, ready


def summarize(rounds):
    return turns.summarize(rounds, REFERENCE, FLOOR)


def test_turns_go_on_until_they_agree():
    """The reference has a turn before every few turns of the others, to the end."""
    names = (REFERENCE, "one", "two", FLOOR, "four")
    times = {"one": [6, 6], "two": [8, 8], FLOOR: [3, 4, 3], "four": [1, 1]}
    script = {name: iter(found) for name, found in times.items()}
    asked = []

    def answer(name, figure):
        asked.append(name)
        return turns.Turn(next(script.get(name, iter([2]))), 1, 0.1)

    settings = turns.Settings(seconds=0, min_turns=2, rounds=9, turns_per_reference=2)
    results, _ = scripted(answer, names, settings)
    found = {name: results[name]["figures"]["forward"] for name in names}
    once = [REFERENCE, "one", "two", REFERENCE, FLOOR, "four"]
    # 3 and 4 are further from each other than they may be; 3, 3 and 4 are not
    assert asked == [*once, *once, REFERENCE, FLOOR]
    assert {name: found[name]["turns"] for name in times} == times
    assert found[FLOOR]["seconds"] == 3 and found[FLOOR]["ratio"] == 1.5
    assert found[REFERENCE]["floor_share"] == 1.5


def test_the_reference_is_timed_without_others():
    settings = turns.Settings(seconds=0, min_turns=2)
    results, _ = scripted(lambda *_: turns.Turn(2, 1, 0.1), (REFERENCE,), settings)
    assert results[REFERENCE]["figures"]["forward"]["turns"] == [2, 2]


def test_a_figure_is_the_lower_quartile_of_the_turns():
    """One lucky turn does not change it, nor do slow ones."""
    own = [turns.Turn(s, 2, 0.1) for s in (1, 5, 5, 5, 5, 9, 9)]
    others = [turns.Turn(s, 2, 0.1) for s in (3, 8, 7, 4)]
    found = summarize({REFERENCE: own, "x": others, "y": others[1:3]})
    assert found[REFERENCE]["seconds"] == 5
    assert found[REFERENCE]["quartiles"] == [5, 5, 9]
    assert found[REFERENCE]["calls"] == [2] * 7
    assert found["x"]["seconds"] == 3.25 and found["x"]["ratio"] == 3.25 / 5
    assert found["y"]["seconds"] == 7


def test_the_spread_of_a_ratio_is_of_the_quartiles():
    """It includes 1 if the quartiles of both overlap."""

    def found(*seconds):
        own = [turns.Turn(s, 1, 0.1) for s in (2, 3, 4)]
        other = [turns.Turn(s, 1, 0.1) for s in seconds]
        return summarize({REFERENCE: own, "x": other})["x"]

    assert found(3, 5, 6)["ratio"] == 1.5
    assert found(3, 5, 6)["ratio_range"] == [0.75, 3]
    assert found(5, 6, 8)["ratio_range"] == [1.25, 4]
    assert found(1, 1, 1)["ratio_range"] == [0.25, 0.5]


def test_more_turns_do_not_make_a_figure_faster():
    """The reference has more turns than others, and may not gain by it."""
    random = np.random.default_rng(0)

    def mean(count):
        samples = random.lognormal(sigma=0.3, size=(2000, count))
        rounds = [[turns.Turn(s, 1, 0.1) for s in sample] for sample in samples]
        found = [summarize({"x": t})["x"]["seconds"] for t in rounds]
        return np.log(found).mean()

    # the inclusive quartile of four is above that of forty, by as much as this is below
    assert 0 < mean(40) - mean(4) < 0.25 * 0.3


def test_later_processes_add_their_turns():
    """A figure uses the turns of all processes, and each process has enough of its own."""
    settings = turns.Settings(seconds=0, min_turns=2)
    earlier = []
    for process in range(2):
        figure = turns.Figure({"x": earlier}, settings, REFERENCE, process)
        assert figure.next_turns() == ["x"]
        for _ in range(2):
            figure.add("x", turns.Turn(3, 1, 0.1))
        assert figure.next_turns() == []
        found = summarize(figure.turns)["x"]
        earlier = turns.turns_of(found)
    assert found["process"] == [0, 0, 1, 1] and found["turns"] == [3] * 4


def test_a_later_process_need_not_compile(tmp_path):
    """It finds the programs of the first, except in cases that time compilation."""
    case = dataclasses.replace(cases.select("smoke")[0], figures=("forward",))
    contender = client.Client((CONTENDER, "jaxrnn-scan"), timeout=60)
    try:
        for compile_time in (True, False):
            asked = dataclasses.replace(case, compile_time=compile_time)
            folder = tmp_path / str(compile_time)
            answer = contender.ask(
                "prepare",
                spec=dataclasses.asdict(asked),
                computes="lstm",
                compiled=str(folder),
                reference=None,
            )
            assert answer == {}
            assert folder.exists() != compile_time
            assert contender.ask("turn", figure="forward", seconds=0.0)["calls"] == 1
            contender.ask("release")
    finally:
        contender.stop()


@pytest.mark.parametrize(
    ("times", "seconds", "calls", "ran"),
    [([0.06, 0.02, 0.02], 0.01, 1, 2), ([0.06, 0.01, 0.01], 0.015, 2, 3), ([0.3], 0.01, 1, 1)],
)  # fmt: skip
def test_the_first_call_of_a_turn_does_not_count(
    monkeypatch, times, seconds, calls, ran
):
    """It finds the caches cold. A long call counts, since it is the only one."""
    clock, ahead = [0.0], iter(times)
    monkeypatch.setattr(worker.time, "perf_counter", lambda: clock[0])

    def run(figure):
        clock[0] += next(ahead)

    found = worker.turn(run, "forward", seconds)
    assert found == {"seconds": pytest.approx(min(times)), "calls": calls}
    assert ran == len(times) - len(list(ahead))


def test_a_run_with_a_limit_times_the_quickest_tasks_again(monkeypatch):
    """In new processes, until there is no time for the next task."""
    tasks, clock = tuple(task("forward", name=name) for name in "abc"), [0.0]
    monkeypatch.setattr(runner.time, "perf_counter", lambda: clock[0])
    ran = []

    class Timed(runner.Runner):
        def _introduce(self):
            pass

        def _measured(self, task, process, folder):
            elapsed = 10.0 * (3 - tasks.index(task))
            clock[0] += elapsed
            ran.append((task.name, process))
            entry = self._entry(task)
            elapsed += entry["elapsed"]
            return entry | {"elapsed": elapsed, "processes": process + 1}

    found = make_runner(tasks, turns.Settings(time_limit=95.0), kind=Timed).run()
    # 60 seconds once, then 10 and 20 again; with 30 more it would be 120
    assert ran == [("a", 0), ("b", 0), ("c", 0), ("c", 1), ("b", 1)]
    assert [case["name"] for case in found["cases"]] == ["a", "b", "c"]
    assert found["finished"]


def test_contenders_that_spin_are_prepared_alone():
    """They come before the others, which are prepared two at a time."""
    names, active, seen = ("one", "spinning", "two"), set(), {}
    team = make_runner((), turns.Settings(), names).team
    team.spins.add("spinning")
    both = threading.Barrier(2, timeout=30)

    def prepare(name):
        active.add(name)
        if name != "spinning":
            both.wait()
        seen[name] = set(active)
        both.wait() if name != "spinning" else active.clear()

    trial.Trial(task("forward"), team, turns.Settings(), None, 0).each(prepare, 2)
    assert seen["spinning"] == {"spinning"}
    assert seen["one"] == seen["two"] == {"one", "two"}


def test_a_contender_that_fails_while_it_is_timed_loses_the_task():
    """It also loses the figures that it had; a resumed run runs the task again."""

    def answer(name, figure):
        if name == FLOOR and figure == "backward":
            return {"failed": "ended with -9"}
        return turns.Turn(1, 1, 0.1)

    settings = turns.Settings(seconds=0, min_turns=2)
    names, figures = (REFERENCE, FLOOR), ("forward", "backward")
    results, ready = scripted(answer, names, settings, figures)
    assert results[FLOOR] == {"figures": {}, "failed": "ended with -9"}
    assert set(results[REFERENCE]["figures"]) == {"forward", "backward"}
    assert set(ready) == {REFERENCE}


def test_a_run_goes_on_without_its_reference():
    """The other contenders keep their turns, and have no ratio."""

    def answer(name, figure):
        failed = {"failed": "ended with -9"}
        return failed if name == REFERENCE else turns.Turn(1, 1, 0.1)

    names = (REFERENCE, "one", "two", "three", FLOOR)
    results, _ = scripted(answer, names, turns.Settings(seconds=0, min_turns=2))
    assert results[REFERENCE]["failed"] == "ended with -9"
    for name in names[1:]:
        found = results[name]["figures"]["forward"]
        assert found["turns"] == [1, 1] and "ratio" not in found


def test_a_run_is_resumed_where_nothing_failed():
    """Cases that were finished and did not fail are kept as they are."""
    tasks = tuple(task("forward", name=name) for name in "abc")

    class Counted(runner.Runner):
        def _measured(self, task, process, folder):
            ran.append((task.name, process))
            return self._entry(task) | {"processes": process + 1}

    def resumed(earlier):
        new = make_runner(tasks, turns.Settings(), kind=Counted)
        new.resume({**new.results, **earlier})
        new.save = lambda results: saved.append([c["name"] for c in results["cases"]])
        for solver in new.team.solvers:
            solver.start, solver.ask = (lambda: None), (lambda do: {})
        return new.run()

    ran, saved = [], []
    failed, half, whole = (
        {"name": name, "elapsed": 1.0, "processes": count, "results": {"x": {}}}
        for name, count in zip("abc", (2, 1, 2), strict=True)
    )
    failed["results"]["x"] = {"failed": "out of memory"}
    found = resumed({"cases": [failed, half, whole]})
    assert ran == [("a", 0), ("a", 1), ("b", 1)]
    assert found["cases"][2] is whole
    # the file always has the cases that were kept: a second crash does not lose them
    assert all(names == ["a", "b", "c"] for names in saved)
    with pytest.raises(ValueError, match=r"cannot resume: versions was .*jax"):
        resumed({"versions": {"jax": "0.1"}, "cases": []})
    with pytest.raises(ValueError, match=r"cannot resume a run of other on "):
        resumed({"machine": {"name": "other"}, "cases": []})
