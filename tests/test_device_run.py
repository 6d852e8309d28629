"""The run on a bare machine: a crash, a hang or a cut loses one step; the rest is reported."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.device import lines, report, runner, thunks


ROOT = Path(__file__).resolve().parent.parent

# A step that names the contender that it runs, and dies of the first.
SUSPECT = """
import os, sys
from pathlib import Path
from benchmarks.device.lines import writer
say = writer(Path(sys.argv[1]), "suspect")
for name in ("bad", "good"):
    if name not in sys.argv:
        say(doing=[name])
        if name == "bad":
            os.abort()
        say(contender=name, green=True, worst=1e-7, bound=1e-5)
"""


def python(name, code, *arguments, limit=20.0):
    return runner.Step(name, (sys.executable, "-c", code, *arguments), limit)


def run(folder, *steps, seconds=60.0):
    runner.Run(folder, seconds, {"PYTHONPATH": str(ROOT)}).run(list(steps))
    return lines.read(folder)


def endings(found):
    return {line["step"]: line["ended"] for line in found if "ended" in line}


def test_a_step_that_dies_or_hangs_loses_itself_alone(tmp_path):
    found = run(
        tmp_path,
        python("dies", "import sys; print('why'); sys.exit(3)"),
        python("hangs", "import time; time.sleep(60)", limit=0.5),
        python("is well", "print('fine')"),
    )
    assert endings(found) == {"dies": "died", "hangs": "timeout", "is well": "done"}
    (died,) = (line for line in found if line.get("ended") == "died")
    assert died["code"] == 3 and died["last"] == "why"
    assert "fine" in (tmp_path / "log.txt").read_text()


def test_a_hung_step_leaves_no_process_behind(tmp_path):
    shell = 'sleep 60 & echo $! > "$0"; wait'
    command = ("sh", "-c", shell, str(tmp_path / "pid"))
    run(tmp_path, runner.Step("hangs", command, limit=3.0))
    status = Path("/proc", (tmp_path / "pid").read_text().strip(), "status")
    # a killed process takes a moment to die, above all on a busy machine
    deadline = time.monotonic() + 20.0
    while is_alive(status) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(status)


def is_alive(status):
    """False if the process is gone, or dead and not yet collected by its new parent."""
    try:
        return "\nState:\tZ" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_steps_are_skipped_when_the_time_is_up(tmp_path):
    found = run(tmp_path, python("late", "print('never')"), seconds=1.0)
    assert endings(found) == {"late": "skipped"}


def test_a_step_is_run_again_without_the_contender_that_it_died_of(tmp_path):
    found = run(tmp_path, python("suspect", SUSPECT, str(tmp_path)))
    again = [line["started"] for line in found if "started" in line]
    assert len(again) == 2 and again[1][-2:] == ["--without", "bad"]
    text = report.write_report(tmp_path)
    assert "failed: the process died" in text and "1.0e-07 of 1.0e-05" in text


def test_a_line_that_was_cut_is_left_out(tmp_path):
    say = lines.writer(tmp_path, "step")
    say(one=1)
    file = tmp_path / lines.FILE
    file.write_text(file.read_text() + '{"step": "st')
    assert [line["one"] for line in lines.read(tmp_path)] == [1]
    file.write_text("not JSON\n")
    with pytest.raises(ValueError, match="line 1 is not JSON"):
        lines.read(tmp_path)


def written(folder):
    """The lines of a run that was cut in its last step."""
    say = lines.writer(folder, "ceilings")
    say(started=[])
    say(ceiling="copy", unit="GB/s", rate=3012.3)
    say(ended="done", seconds=7.5)
    say = lines.writer(folder, "values of Fused")
    check = {"layer": "LSTM(3, 4)", "dtype": "float32", "precision": "highest"}
    check |= {"padded": True, "strategy": "Fused()"}
    say(**check, error=2e-3, where="d xs", scan=1e-7, bound=1e-6, green=False)
    say(**check, refused="for CPU")
    say = lines.writer(folder, "table lstm")
    say(contender="torch", green=True, worst=1e-6, bound=1e-5, note="")
    for figure, median in (("forward", 1.25), ("backward", 4.5)):
        for table in (1, 2):
            say(
                figure=figure,
                contender="torch",
                table=table,
                median_ms=median + table,
                calls=20 if table == 1 else 7,
            )
    say(contender="linen", green=False, worst=0.5, bound=1e-5, gate="d w_f 5.0e-01")
    say(contender="cudnn", refused="CUDA only")


def test_a_cut_run_is_reported(tmp_path):
    written(tmp_path)
    command = [sys.executable, "-m", "benchmarks.device", "report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.md").read_text()
    for row in (
        "| copy | 3012 GB/s |",
        "| Fused() | LSTM(3, 4) | float32, highest, lengths | RED 2.0e-03 (1.0e-07) in d xs |",
        "| Fused() | LSTM(3, 4) | float32, highest, lengths | refused: for CPU |",
        "| torch | 2.25 / 3.25 (7) | 5.5 / 6.5 (7) | 1.0e-06 of 1.0e-05 |  |",
        "| linen |  |  | RED d w_f 5.0e-01 |  |",
        "| cudnn |  |  |  | refused: CUDA only |",
        "| ceilings | done | 7.5 |  |",
        "| table lstm | cut |  |  |",
    ):
        assert row in page
    assert done.stdout.strip() == (tmp_path / "report.txt").read_text().strip()


def test_wrong_arguments_are_refused_in_words(tmp_path):
    def refusal(*arguments):
        command = [sys.executable, "-m", "benchmarks.device", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 2
        return done.stderr

    out = tmp_path / "out"
    assert "there are no results" in refusal("report", out)
    assert "no step matches 'nothing'" in refusal("run", out, "--only", "nothing")
    assert "has no wheels" in refusal("run", out, "--wheels", tmp_path)
    lines.writer(tmp_path, "step")(one=1)
    assert "has results already" in refusal("run", tmp_path)


# XLA's dump of an LSTM of 16 steps under `Hoisted()`, shortened.
SEQUENCE = """\
001: kCopy         [source       | next=004 (3)] kCopy
002: kCustomKernel [source       | next=004 (2)] loop_broadcast_fusion grid: [16, 1, 1]
004: kWhile        [prev=003 (1) | sink        ]
condition:
    005: kCustomKernel [source | sink] loop_compare_fusion grid: [1, 1, 1]
  body:
    006: kAsyncStart    [source       | next=000 (3)] stream=computation_stream[0]
        008: kDynamicSliceFusion [source | sink] params=1, results=1
            007: kCopy [source | sink] kCopy
    009: kCustomKernel  [source       | next=000 (2)] gemm_fusion_dot_general_10
    010: kAsyncDone     [source       | sink        ] async_id=6
    000: kCommandBuffer [prev=009 (2) | sink        ]
        011: kCustomKernel [source       | next=012 (1)] gemm_fusion_dot
        012: kCustomKernel [prev=011 (1) | next=013 (1)] loop_multiply_fusion_5
013: kCustomKernel [prev=012 (1) | sink         ] loop_add_fusion
"""
PROGRAM = """\
%body (p: f32[2]) -> f32[2] {
  %inner = f32[2] while(%p), backend_config={"known_trip_count":{"n":"3"}}
}

ENTRY %main (p: f32[2]) -> f32[2] {
  %outer = f32[2] while(%p), condition=%c, backend_config={"known_trip_count":{"n":"2"}}
}
"""


def test_launches_are_counted_in_the_body_of_each_loop(tmp_path):
    assert thunks.launches(SEQUENCE) == {
        "outside": 3,
        "loops": [{"launches": 4, "in_graphs": 2}],
    }
    assert thunks.trip_counts(PROGRAM) == [2]
    say = lines.writer(tmp_path, "launches")
    what = {"strategy": "Hoisted()", "dtype": "bfloat16", "figure": "forward"}
    say(**what, steps=16, trips=[2], **thunks.launches(SEQUENCE))
    row = "| Hoisted() | bfloat16 | forward | 4 (2) | 0.69 |"  # (3 + 2 * 4) / 16
    report.write_report(tmp_path)
    assert row in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / lines.FILE).read_text())["outside"] == 3
