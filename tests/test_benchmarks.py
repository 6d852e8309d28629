"""The benchmarks: no figure without a green gate, and no failure that ends a run.

They run as their users run them, as `python -m benchmarks` in a process of its own, with
jaxrnn and the floor only, so that no peer need be installed.
"""

import ast
import copy
import graphlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import cases
from benchmarks.harness import runner
from benchmarks.report.results import read_results


_ROOT = Path(__file__).resolve().parent.parent

_PLANTED = '''
import os
from pathlib import Path

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
    """Wrong in single steps only."""

    def computes(self, case):
        return case

    def stepper(self, case):
        right = super().stepper(case)

        def step(params, state, x):
            state, y = right.step(params, state, x)
            return state, y + 1e-4

        return right._replace(step=step)


class Crash(JaxrnnPeer):
    """Ends its process."""

    def build(self, case, problem):
        os._exit(3)


class Later(JaxrnnPeer):
    """Ends its second process."""

    def build(self, case, problem):
        mark = Path(__file__).with_name(f"built-{case.name}")
        if mark.exists():
            os._exit(3)
        mark.touch()
        return super().build(case, problem)


OUTPUT, GRADIENT, STEP, CRASH, LATER = (
    kind(jaxrnn.Scan()) for kind in (Output, Gradient, Step, Crash, Later)
)
'''


def _imports(file):
    """The modules that a file imports, wherever in it, by their full names."""
    package = list(file.relative_to(_ROOT).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                # `from . import x` imports a module if there is a file of that name
                inner = _ROOT.joinpath(*module.split("."), alias.name)
                named = inner.is_dir() or inner.with_suffix(".py").exists()
                yield f"{module}.{alias.name}" if named else module


def test_the_harness_imports_nothing_of_the_project():
    """It times any contender, and knows of none."""
    for file in (_ROOT / "benchmarks" / "harness").glob("*.py"):
        for module in _imports(file):
            outside = module.split(".")[0] in ("jaxrnn", "benchmarks")
            assert not outside or module.startswith("benchmarks.harness"), (
                f"{file.name} imports {module}"
            )


def test_no_modules_of_the_benchmarks_import_each_other():
    """Imports inside functions count as well."""
    graph = {}
    for file in (_ROOT / "benchmarks").rglob("*.py"):
        parts = file.relative_to(_ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        graph[name] = set(_imports(file))
    assert "benchmarks.problem" in graph["benchmarks.verify"]
    assert "benchmarks.cells" in graph["benchmarks.problem"]
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def _command(*arguments):
    return [sys.executable, "-m", "benchmarks", *map(str, arguments)]


def _benchmarks(*arguments, path=None):
    """The finished process of one command."""
    env = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(
        _command(*arguments), cwd=_ROOT, env=env, capture_output=True, text=True
    )


@pytest.mark.full
@pytest.mark.timeout(900)
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
    peers = ["OUTPUT", "GRADIENT", "STEP", "CRASH", "LATER"]
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
    for name in ("planted:CRASH", "planted:LATER"):
        assert "ended with 3" in entries[name]["failed"]
    assert entries["planted:LATER"]["figures"] == {}
    assert "not installed" in results["contenders"]["lacking:PEER"]["absent"]
    assert "lacking:PEER" not in entries
    assert results["finished"] and entries["jaxrnn-auto"]["figures"]["forward"]


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
    """Results that no run gave: three contenders, one case, two figures."""
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
                name: {
                    "seconds": value,
                    "quartiles": [value, 1.02 * value, 1.1 * value],
                    "ratio": seconds / 0.010,
                    "ratio_range": [0.9 * seconds / 0.010, 1.1 * seconds / 0.010],
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
        "statistic": "lower quartile of the turns",
        "reference": "jaxrnn-auto",
        "floor": "floor",
        "contenders": {
            "jaxrnn-auto": {"title": "jaxrnn Auto()", "version": "0"},
            "jaxrnn-scan": {"title": "jaxrnn Scan()", "version": "0"},
            "haiku": {"title": "Haiku", "version": "0"},
            "torch": {"absent": "not installed"},
            "floor": {"title": "floor", "version": "0"},
        },
        "cases": [{
            "name": "lstm-5x2x3x4", "case": case,
            "results": {
                "jaxrnn-auto": result(0.010, 0.5),
                "jaxrnn-scan": result(0.0104, 0.48),
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
    assert "| lstm-5x2x3x4 | 10 (11) ms | 10.4 (11.4) ms | 5 (5.5) ms |" in page
    # turns of 0.94 to 1.14 times the reference decide nothing
    assert "| lstm-5x2x3x4 | tie (0.94-1.14) | 0.50 (0.45-0.55) |" in page
    assert "a figure is the lower quartile of the turns" in page
    assert "torch: not installed" in page and "no such cell" in page
    for figure in ("forward", "backward"):
        picture = tmp_path / "out" / f"quick-{figure}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_committed_results_can_be_read(results):
    """They are of the format before this one."""
    files = sorted((_ROOT / "benchmarks" / "results").glob("*/*.json"))
    files = [file for file in files if file.parent.name != "compiled"]  # no times
    assert files
    for file in files:
        raw, read = json.loads(file.read_text()), read_results(file)
        assert read["format"] == results["format"]
        for before, case in zip(raw["cases"], read["cases"], strict=True):
            for name, result in case["results"].items():
                for figure, found in result.get("figures", {}).items():
                    stored = before["results"][name]["figures"][figure]
                    assert found["seconds"] == stored["seconds"]
                    assert found["turns"] == stored["rounds"]
                    lower, upper = found["ratio_range"]
                    assert lower <= stored["ratio"] <= upper


def test_list_shows_cases_and_contenders():
    done = _benchmarks("list")
    assert done.returncode == 0, done.stderr
    assert "smoke: lstm-7x3x5x4, " in done.stdout and "jaxrnn-auto" in done.stdout


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
