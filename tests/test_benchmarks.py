"""The benchmark harness: no figure without a green gate, and no run that falls over.

It runs as its users run it, as `python -m benchmarks` in a process of its own, with the
library and the floor alone: no peer need be installed.
"""

import copy
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import cases, client, cores, peers, rounds, runner


_ROOT = Path(__file__).resolve().parent.parent

_PLANTED = '''
import os

import jaxrnn
from benchmarks.peers._jaxrnn import JaxrnnPeer


class Output(JaxrnnPeer):
    """Outputs a little too large; the gradients do not notice."""

    def model(self, case):
        right = super().model(case)

        def model(params, xs, lengths):
            h, ys = right(params, xs, lengths)
            return h, ys + 1e-4

        return model


class Gradient(JaxrnnPeer):
    """The gradient of one gate's bias, off by a thousandth."""

    def unpack(self, case, variables):
        (cell,) = super().unpack(case, variables)
        b = cell["b"].copy()
        b[case.hidden : 2 * case.hidden] *= 1.001
        return [cell | {"b": b}]


class Step(JaxrnnPeer):
    """Right but for single steps."""

    def computes(self, case):
        return case

    def stepper(self, case):
        right = super().stepper(case)

        def step(params, state, x):
            state, y = right.step(params, state, x)
            return state, y + 1e-4

        return right._replace(step=step)


class Crash(JaxrnnPeer):
    """Takes its process with it."""

    def build(self, case, problem):
        os._exit(3)


OUTPUT, GRADIENT, STEP, CRASH = (
    kind(jaxrnn.Scan()) for kind in (Output, Gradient, Step, Crash)
)
'''


def _command(*arguments):
    return [sys.executable, "-m", "benchmarks", *map(str, arguments)]


def _benchmarks(*arguments, path=None):
    """The finished process of one command."""
    env = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(
        _command(*arguments), cwd=_ROOT, env=env, capture_output=True, text=True
    )


def test_smoke_runs_end_to_end(tmp_path):
    file = tmp_path / "smoke.json"
    done = _benchmarks(
        "run", "--suite", "smoke", "--peers", "jaxrnn-checkpointed", "--json", file
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(file.read_text())
    assert results["finished"]
    assert {"cpu", "cores", "memory_gib", "platform"} <= results["machine"].keys()
    assert {"python", "jax", "jaxrnn"} <= results["versions"].keys()
    contenders = set(results["contenders"])
    assert contenders == {"jaxrnn-auto", "jaxrnn-checkpointed", "floor"}
    for case in results["cases"]:
        steps = case["case"]["figures"] == ["stream"]
        own = cases.KINDS[case["case"]["kind"]].own
        for name, result in case["results"].items():
            if own and name == "floor":
                assert "depend on the strategy" in result["refused"]
                continue
            if steps and name == "jaxrnn-checkpointed":
                assert "no strategy" in result["refused"]
                continue
            assert not result["gate"]["red"], (case["name"], name, result["gate"])
            assert set(result["figures"]) == set(case["case"]["figures"])
            for figure in result["figures"].values():
                assert figure["seconds"] > 0
                assert figure["process"] == [0, 0, 1, 1]
                assert figure["ratio"] > 0
                assert own or figure["floor_share"] > 0
            last, compiled = case["case"]["figures"][-1], result["compile_seconds"]
            assert compiled[last] > 0 if case["case"]["compile_time"] else not compiled
        assert case["processes"] == 2


def test_a_wrong_contender_gets_no_figure_and_no_contender_ends_the_run(tmp_path):
    (tmp_path / "planted.py").write_text(_PLANTED)
    (tmp_path / "lacking.py").write_text("import there_is_no_such_peer\n")
    file = tmp_path / "results.json"
    peers = ["OUTPUT", "GRADIENT", "STEP", "CRASH"]
    done = _benchmarks(
        "run", "--suite", "smoke", "--cases", "lstm-7x3x5x4", "lstm-step-*", "--json", file,
        "--peers", *(f"planted:{name}" for name in peers), "lacking:PEER",
        path=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    results = json.loads(file.read_text())
    case, steps = results["cases"]
    entries = case["results"]
    assert entries["planted:OUTPUT"]["gate"]["red"] == ["ys"]
    assert entries["planted:GRADIENT"]["gate"]["red"] == ["d b_f"]
    for name in ("planted:OUTPUT", "planted:GRADIENT"):
        assert entries[name]["figures"] == {}
    assert entries["planted:STEP"]["figures"]["forward"]
    assert steps["results"]["planted:STEP"]["gate"]["red"] == ["stream"]
    assert "RED planted:GRADIENT, lstm-7x3x5x4: d b_f 1.0e-03 >" in done.stdout
    assert "ended with 3" in entries["planted:CRASH"]["failed"]
    assert "not installed" in results["contenders"]["lacking:PEER"]["absent"]
    assert "lacking:PEER" not in entries
    assert results["finished"] and entries["jaxrnn-auto"]["figures"]["forward"]


def test_turns_go_on_until_enough_of_them_count():
    """Those that were taken while cores were far apart do not."""
    case = dataclasses.replace(cases.select("smoke")[0], figures=("forward",))
    floor = iter([(9, False), (3, True), (9, False), (4, True), (3, True), (3, True)])
    settings = runner.Settings(seconds=0, fewest=2, rounds=9)

    class Scripted(runner.Runner):
        def _turn(self, case, name, client, figure):
            seconds, near = (2, True) if name == peers.REFERENCE else next(floor)
            return rounds.Turn(seconds, 1, 0.1, near)

    names = (peers.REFERENCE, peers.FLOOR)
    run = Scripted("smoke", (case,), names, settings)
    results = {name: {"figures": {}} for name in names}
    run._take_rounds(case, dict.fromkeys(names), results, 0)
    found = {name: results[name]["figures"]["forward"] for name in names}
    # 3 and 4 are further apart than they may be; 3, 4 and 3 are not
    assert found[peers.FLOOR]["rounds"] == [9, 3, 9, 4, 3]
    assert found[peers.FLOOR]["near"] == [False, True, False, True, True]
    assert found[peers.FLOOR]["seconds"] == 3 and found[peers.FLOOR]["ratio"] == 1.5
    assert found[peers.REFERENCE]["floor_share"] == 1.5


def test_a_figure_is_the_lower_quartile_of_the_turns_that_count():
    """A lucky turn does not make it, nor do slow ones; all count if none does."""
    turns = [rounds.Turn(s, 2, 0.1) for s in (1, 5, 5, 5, 5, 9, 9)]
    far = [rounds.Turn(s, 2, 0.1, near=False) for s in (3, 3)]
    found = rounds.summarised({peers.REFERENCE: turns + far, "x": far})
    assert found[peers.REFERENCE]["seconds"] == 5
    assert found[peers.REFERENCE]["median"] == 5
    assert found[peers.REFERENCE]["calls"] == [2] * 9
    assert found["x"]["seconds"] == 3 and found["x"]["ratio"] == 3 / 5
    # of the rounds that both had: 3 / 1 and 3 / 5
    assert found["x"]["median_ratio"] == pytest.approx(1.8)


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
    found = rounds.summarised({**figure.turns, peers.REFERENCE: figure.turns["x"][1:]})
    assert found["x"]["process"] == [0, 0, 1, 1]
    # the second of the first process has a partner, the second of the other one has none
    assert found["x"]["median_ratio"] == 1 and found["x"]["rounds"] == [3] * 4


def test_a_later_process_need_not_compile(tmp_path):
    """What the first compiled is there, but for cases in which compiling is timed."""
    case = dataclasses.replace(cases.select("smoke")[0], figures=("forward",))
    worker = client.Client("jaxrnn-scan", patience=60)
    try:
        for compile_time in (True, False):
            asked = dataclasses.replace(case, compile_time=compile_time)
            folder = tmp_path / str(compile_time)
            answer = worker.ask(
                "prepare",
                case=dataclasses.asdict(asked),
                compiled=str(folder),
                reference=None,
            )
            assert answer == {}
            assert folder.exists() != compile_time
            assert worker.ask("turn", figure="forward", seconds=0.0)["calls"] == 1
            worker.ask("release")
    finally:
        worker.stop()


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


def test_cores_that_are_far_apart_are_told_from_near_ones():
    """By how long a cache line takes. A run goes on if what measures it is killed."""
    pair = cores.Cores()
    assert pair.near()  # as far as is known
    pair.start()
    before = getattr(os, "sched_getaffinity", lambda pid: None)(0)
    alone = len(before or {0}) == 1
    assert alone or 0 < pair.least < 1e9
    pair.least = float("inf")
    assert pair.bring_near(0.0)  # nearer than ever
    pair.least /= 100  # as if they had been nearer once
    start = time.perf_counter()
    assert pair.bring_near(0.1) == alone
    assert alone or time.perf_counter() - start > 0.1
    assert getattr(os, "sched_getaffinity", lambda pid: None)(0) == before
    if not alone:
        pair._partner.kill()
        pair._partner.wait()
    assert pair.bring_near(5.0)
    pair.stop()
    assert pair.near()


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


def test_ctrl_c_stops_the_workers_and_writes_what_there_is(tmp_path):
    file = tmp_path / "results.json"
    command = _command(
        "run", "--suite", "smoke", "--peers", "jaxrnn-auto", "--json", file
    )
    with subprocess.Popen(
        command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while not file.exists() and process.poll() is None:
            time.sleep(0.05)
        workers = _children(process.pid)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    results = json.loads(file.read_text())
    assert not results["finished"]
    assert results["cases"][0]["results"]["jaxrnn-auto"]["figures"]["backward"]
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def _children(pid):
    """The processes that a process has started; none where Linux does not say."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return children.read_text().split() if children.exists() else []


@pytest.fixture
def results():
    """Results of a run that never was: two contenders, one case, two figures."""
    figure = {"spread": 0.02, "calls": 9, "ratio": 1.0}
    gate = {"red": [], "shown": "green", "errors": {"ys": 1e-7}, "bounds": {"ys": 1e-5}}

    def result(seconds, share):
        figures = {"forward": seconds, "backward": 3 * seconds}
        return {
            "computes": "lstm",
            "gate": gate,
            "note": "",
            "compile_seconds": {"backward": 0.5},
            "temporary_bytes": 1 << 20,
            "figures": {
                name: figure
                | {
                    "seconds": value,
                    "median": value,
                    "rounds": [value] * 3,
                    "near": [True] * 3,
                    "floor_share": share,
                }
                for name, value in figures.items()
            },
        }

    case = {
        "kind": "lstm", "time": 5, "batch": 2, "inputs": 3, "hidden": 4,
        "figures": ["forward", "backward"],
    }  # fmt: skip
    refused = {"refused": "no such cell"}
    return {
        "format": runner.FORMAT,
        "suite": "quick",
        "started": "2020-01-01T00:00:00+00:00",
        "machine": {
            "name": "abacus", "cpu": "Abacus", "cores": 2, "memory_gib": 1.0,
            "gpus": [], "system": "Linux",
        },
        "versions": {"python": "3"},
        "load_at_start": [0.1, 0.1, 0.1],
        "settings": {},
        "statistic": "fastest turn",
        "reference": "jaxrnn-auto",
        "contenders": {
            "jaxrnn-auto": {"title": "jaxrnn Auto()", "version": "0"},
            "haiku": {"title": "Haiku", "version": "0"},
            "torch": {"absent": "not installed"},
            "floor": {"title": "floor", "version": "0"},
        },
        "cases": [{
            "name": "lstm-5x2x3x4", "case": case,
            "results": {
                "jaxrnn-auto": result(0.010, 0.5),
                "haiku": refused,
                "floor": result(0.005, 1.0),
            },
        }],
        "lines": ["torch: not installed"],
        "finished": True,
    }  # fmt: skip


def test_report_renders_results(tmp_path, results):
    file = tmp_path / "quick.json"
    file.write_text(json.dumps(results))
    done = _benchmarks("report", file, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "out" / "quick.md").read_text()
    assert "| lstm-5x2x3x4 | 10 ms (1.00) | 5 ms (1.00) |" in page
    assert "a figure is the fastest turn" in page
    assert "torch: not installed" in page and "no such cell" in page
    for figure in ("forward", "backward"):
        picture = tmp_path / "out" / f"quick-{figure}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_compare_finds_what_got_slower(tmp_path, results):
    old = _written(tmp_path / "old.json", results)
    slower = copy.deepcopy(results)
    planted = slower["cases"][0]["results"]["jaxrnn-auto"]["figures"]["backward"]
    planted["seconds"] *= 1.3
    planted["floor_share"] /= 1.3
    done = _benchmarks("compare", old, _written(tmp_path / "slower.json", slower))
    assert done.returncode == 1
    assert "SLOWER  jaxrnn-auto, lstm-5x2x3x4, backward: +30 %" in done.stdout
    assert "forward" not in done.stdout and "1 got slower" in done.stdout


def test_compare_is_not_misled_by_a_busy_machine(tmp_path, results):
    old = _written(tmp_path / "old.json", results)
    busy = copy.deepcopy(results)
    for result in busy["cases"][0]["results"].values():
        for figure in result.get("figures", {}).values():
            figure["seconds"] *= 2
    done = _benchmarks("compare", old, _written(tmp_path / "busy.json", busy))
    assert done.returncode == 0, done.stdout
    assert "0 got slower" in done.stdout


def _written(path, results):
    path.write_text(json.dumps(results))
    return path
