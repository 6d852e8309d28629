"""Turns of a benchmark, and the figures that are made of them."""

import dataclasses
import threading

import numpy as np
import pytest

from benchmarks import cases, peers
from benchmarks.harness import client, runner, worker
from benchmarks.harness import turns as rounds


def test_turns_go_on_until_they_agree():
    """The reference has a turn before every few of the others, as long as any is left."""
    case = dataclasses.replace(cases.select("smoke")[0], figures=("forward",))
    names = (peers.REFERENCE, "one", "two", peers.FLOOR, "four")
    times = {"one": [6, 6], "two": [8, 8], peers.FLOOR: [3, 4, 3], "four": [1, 1]}
    script = {name: iter(found) for name, found in times.items()}
    asked = []

    class Scripted(runner.Runner):
        def _turn(self, case, name, client, figure):
            asked.append(name)
            return rounds.Turn(next(script.get(name, iter([2]))), 1, 0.1)

    settings = runner.Settings(seconds=0, fewest=2, rounds=9, together=2)
    run = Scripted("smoke", (case,), names, settings)
    results = {name: {"figures": {}} for name in names}
    run._take_rounds(case, dict.fromkeys(names), results, 0)
    found = {name: results[name]["figures"]["forward"] for name in names}
    once = [names[0], "one", "two", names[0], peers.FLOOR, "four"]
    # 3 and 4 are further apart than they may be; 3, 3 and 4 are not
    assert asked == [*once, *once, names[0], peers.FLOOR]
    assert {name: found[name]["rounds"] for name in times} == times
    assert found[peers.FLOOR]["seconds"] == 3 and found[peers.FLOOR]["ratio"] == 1.5
    assert found[peers.FLOOR]["beside"] == [2, 2, 2]
    assert found[peers.REFERENCE]["floor_share"] == 1.5


def test_the_reference_alone_has_turns():
    """Where there is nobody else to compare it with, too."""
    settings = runner.Settings(seconds=0, fewest=2)
    case = dataclasses.replace(cases.select("smoke")[0], figures=("forward",))

    class Scripted(runner.Runner):
        def _turn(self, case, name, client, figure):
            return rounds.Turn(2, 1, 0.1)

    run = Scripted("smoke", (case,), (peers.REFERENCE,), settings)
    results = {peers.REFERENCE: {"figures": {}}}
    run._take_rounds(case, {peers.REFERENCE: None}, results, 0)
    assert results[peers.REFERENCE]["figures"]["forward"]["rounds"] == [2, 2]


def test_a_figure_is_the_lower_quartile_of_the_turns():
    """A lucky turn does not make it, nor do slow ones."""
    turns = [rounds.Turn(s, 2, 0.1, beside=s) for s in (1, 5, 5, 5, 5, 9, 9)]
    others = [rounds.Turn(s, 2, 0.1, beside=1) for s in (3, 8, 7, 4)]
    found = rounds.summarised({peers.REFERENCE: turns, "x": others, "y": others[1:3]})
    assert found[peers.REFERENCE]["seconds"] == 5
    assert found[peers.REFERENCE]["median"] == 5
    assert found[peers.REFERENCE]["calls"] == [2] * 7
    assert found["x"]["seconds"] == 3.25 and found["x"]["ratio"] == 3.25 / 5
    assert found["y"]["seconds"] == 7
    # of each turn to that of the reference before it
    assert found["x"]["median_ratio"] == 5.5
    assert found[peers.REFERENCE]["median_ratio"] == 1


def test_more_turns_do_not_make_a_figure_faster():
    """The reference has more of them than others, and may not gain by it."""
    random = np.random.default_rng(0)

    def mean(count):
        samples = random.lognormal(sigma=0.3, size=(2000, count))
        turns = [[rounds.Turn(s, 1, 0.1) for s in sample] for sample in samples]
        found = [rounds.summarised({"x": t})["x"]["seconds"] for t in turns]
        return np.log(found).mean()

    # the inclusive quartile of four lies above that of forty, by as much as this below it
    assert 0 < mean(40) - mean(4) < 0.25 * 0.3


def test_later_processes_add_their_turns():
    """A figure is of all of them, and each process has turns enough of its own."""
    settings = rounds.Settings(seconds=0, fewest=2)
    turn = rounds.Turn(3, 1, 0.1)
    figure = rounds.Figure({"x": []}, settings)
    for process in range(2):
        earlier = rounds.turns_of(figure.summary()["x"]) if process else []
        figure = rounds.Figure({"x": earlier}, settings, process)
        assert figure.going() == ["x"]
        for _ in range(2):
            figure.add("x", turn)
        assert figure.going() == []
    found = figure.summary()["x"]
    assert found["process"] == [0, 0, 1, 1] and found["rounds"] == [3] * 4


def test_a_later_process_need_not_compile(tmp_path):
    """What the first compiled is there, but for cases in which compiling is timed."""
    case = dataclasses.replace(cases.select("smoke")[0], figures=("forward",))
    contender = client.Client("jaxrnn-scan", patience=60)
    try:
        for compile_time in (True, False):
            asked = dataclasses.replace(case, compile_time=compile_time)
            folder = tmp_path / str(compile_time)
            answer = contender.ask(
                "prepare",
                case=dataclasses.asdict(asked),
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
    """It finds the caches cold. A long one does, since there is no time for another."""
    clock, ahead = [0.0], iter(times)
    monkeypatch.setattr(worker.time, "perf_counter", lambda: clock[0])

    class Program:
        def run(self, figure):
            clock[0] += next(ahead)

    contender = worker.Worker(peer=None)
    contender.program = Program()
    found = contender.turn("forward", seconds)
    assert found == {"seconds": pytest.approx(min(times)), "calls": calls}
    assert ran == len(times) - len(list(ahead))


def test_a_run_with_a_limit_times_the_quickest_cases_again(monkeypatch):
    """In a process of their own, until there is no time for the next."""
    chosen, clock = cases.select("smoke")[:3], [0.0]
    monkeypatch.setattr(runner.time, "perf_counter", lambda: clock[0])
    ran = []

    class Timed(runner.Runner):
        def _introduce(self):
            pass

        def _run_case(self, case, process, folder):
            took = 10.0 * (3 - chosen.index(case))
            clock[0] += took
            ran.append((chosen.index(case), process))
            entry = self._entry(case)
            return entry | {"took": entry["took"] + took, "processes": process + 1}

    found = Timed("smoke", chosen, (), runner.Settings(limit=95.0)).run()
    # 60 seconds once, then 10 and 20 again; with 30 more it would be 120
    assert ran == [(0, 0), (1, 0), (2, 0), (2, 1), (1, 1)]
    assert [case["name"] for case in found["cases"]] == [case.name for case in chosen]
    assert found["finished"]


def test_who_spins_is_prepared_alone():
    """And before the others, which are prepared two at a time."""
    names, active, seen = ("one", "spinning", "two"), set(), {}
    run = runner.Runner("smoke", (), names, runner.Settings())
    run.results["contenders"] = {n: {"spins": n == "spinning"} for n in names}
    both = threading.Barrier(2, timeout=30)

    def prepare(name):
        active.add(name)
        if name != "spinning":
            both.wait()
        seen[name] = set(active)
        both.wait() if name != "spinning" else active.clear()

    run._each(prepare, 2)
    assert seen["spinning"] == {"spinning"}
    assert seen["one"] == seen["two"] == {"one", "two"}


def test_who_fails_while_it_is_timed_loses_the_case():
    """Also the figures that it had; so the case is run again when the run is resumed."""
    case = dataclasses.replace(
        cases.select("smoke")[0], figures=("forward", "backward")
    )

    class Scripted(runner.Runner):
        def _turn(self, case, name, client, figure):
            if name == peers.FLOOR and figure == "backward":
                return {"failed": "ended with -9"}
            return rounds.Turn(1, 1, 0.1)

    names = (peers.REFERENCE, peers.FLOOR)
    run = Scripted("smoke", (case,), names, runner.Settings(seconds=0, fewest=2))
    ready, results = dict.fromkeys(names), {name: {"figures": {}} for name in names}
    run._take_rounds(case, ready, results, 0)
    assert results[peers.FLOOR] == {"figures": {}, "failed": "ended with -9"}
    assert set(results[peers.REFERENCE]["figures"]) == {"forward", "backward"}
    assert set(ready) == {peers.REFERENCE}


def test_a_run_goes_on_without_its_reference():
    """The others keep their turns, and have no ratio to it."""
    case = dataclasses.replace(cases.select("smoke")[0], figures=("forward",))
    names = (peers.REFERENCE, "one", "two", "three", peers.FLOOR)

    class Scripted(runner.Runner):
        def _turn(self, case, name, client, figure):
            if name == peers.REFERENCE:
                return {"failed": "ended with -9"}
            return rounds.Turn(1, 1, 0.1)

    run = Scripted("smoke", (case,), names, runner.Settings(seconds=0, fewest=2))
    ready, results = dict.fromkeys(names), {name: {"figures": {}} for name in names}
    run._take_rounds(case, ready, results, 0)
    assert results[peers.REFERENCE]["failed"] == "ended with -9"
    for name in names[1:]:
        found = results[name]["figures"]["forward"]
        assert found["rounds"] == [1, 1] and "ratio" not in found


def test_a_run_is_resumed_where_nothing_failed():
    """Cases that were finished and did not fail are kept as they are."""
    chosen = cases.select("smoke")[:3]

    class Counted(runner.Runner):
        def _run_case(self, case, process, folder):
            ran.append((case.name, process))
            return self._entry(case) | {"processes": process + 1}

    def resumed(earlier):
        new = Counted("smoke", chosen, (), runner.Settings())
        new.resume({**new.results, **earlier})
        new.save = lambda results: saved.append([c["name"] for c in results["cases"]])
        return new.run()

    ran, saved = [], []
    failed, half, whole = (
        {"name": case.name, "took": 1.0, "processes": count, "results": {"x": {}}}
        for case, count in zip(chosen, (2, 1, 2), strict=True)
    )
    failed["results"]["x"] = {"failed": "out of memory"}
    names = [case.name for case in chosen]
    found = resumed({"cases": [failed, half, whole]})
    assert ran == [(names[0], 0), (names[0], 1), (names[1], 1)]
    assert found["cases"][2] is whole
    # what was kept is in the file all the time: a second crash does not lose it
    assert all(case == names for case in saved)
    with pytest.raises(ValueError, match=r"cannot resume: versions was .*jax"):
        resumed({"versions": {"jax": "0.1"}, "cases": []})
    with pytest.raises(ValueError, match=r"cannot resume on .* what other began"):
        resumed({"machine": {"name": "other"}, "cases": []})
