"""The experiment, small: it runs, it learns, and a crash at any moment costs nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.char_lm import model as language_model
from experiments.char_lm import run, text
from experiments.char_lm.config import Config


ROOT = Path(__file__).parents[1]
SMALL = "--hidden 16 --embedding 8 --batch 4 --time 8 --updates 60 --evaluate-every 20"


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A text with structure, and with letters of more than one byte."""
    words = ["one", "two", "three", "für", "größer", "→"]
    pick = random.Random(0)
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text(" ".join(pick.choice(words) for _ in range(3000)))
    return path


def start(arguments: str, **how) -> subprocess.Popen:
    """Starts the experiment in a separate process."""
    command = [sys.executable, "-m", "experiments.char_lm", *arguments.split()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, **pipes, **how)


def finish(arguments: str) -> str:
    """Runs to the end; returns the output."""
    process = start(arguments)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return output


def lines(folder: Path) -> list[dict]:
    """The metrics of a run."""
    return [
        json.loads(line) for line in (folder / run.METRICS).read_text().splitlines()
    ]


@pytest.fixture(scope="module")
def whole(book, tmp_path_factory):
    """An uninterrupted run, with dropout, so that random keys matter."""
    runs = tmp_path_factory.mktemp("runs")
    options = f"--text {book} --runs {runs} {SMALL} --dropout 0.2 --save-every 7"
    output = finish(options + " --name whole")
    return options, runs / "whole", output


def test_a_run_leaves_what_it_promises(whole):
    _, folder, output = whole
    logged = lines(folder)
    losses = [line["loss"] for line in logged if "loss" in line]
    assert len(losses) == 60
    assert np.mean(losses[-5:]) < 0.8 * losses[0]
    assert [m["update"] for m in logged if "held_out_bits" in m] == [20, 40, 60]
    assert (folder / run.PICTURE).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (folder / "checkpoints" / "60").is_dir()
    assert len((folder / "sample.txt").read_text()) > 100
    for word in ("unigram", "bigram", "LSTM", "characters/s", "|gradient|", "bits"):
        assert word in output


def test_killed_at_any_moment_and_resumed_the_metrics_are_the_same(whole):
    options, folder, _ = whole
    pick, name = random.Random(1), folder.parent / "killed"
    arguments = options + " --name killed"
    for _ in range(3):
        process = start(arguments)
        deadline = time.monotonic() + 120
        want = progress(name) + pick.randint(3, 12)
        while progress(name) < want:
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline, "no progress"
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        arguments = f"--resume {name}"
    finish(arguments)
    assert (name / run.METRICS).read_bytes() == (folder / run.METRICS).read_bytes()


def progress(folder: Path) -> int:
    """The number of the last update that was logged."""
    file = folder / run.METRICS
    return file.read_text().count('"loss"') if file.is_file() else 0


def test_ctrl_c_saves_and_says_how_to_go_on(whole):
    options, folder, _ = whole
    process = start(options + " --name stopped")
    name = folder.parent / "stopped"
    while progress(name) < 10:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    output = process.communicate()[0]
    assert process.returncode == 130, output
    assert f'make run ARGS="--resume {name}"' in output.replace("\n", " ")
    finish(f"--resume {name}")
    assert (name / run.METRICS).read_bytes() == (folder / run.METRICS).read_bytes()


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    config = Config(runs=tmp_path, name="a")
    names = [run.new_folder(config, "text").name for _ in range(3)]
    assert names == ["a", "a-2", "a-3"]
    assert run.load_config(tmp_path / "a") == Config(runs=tmp_path, name="a")


def test_a_line_cut_short_by_a_crash_is_dropped(tmp_path):
    (tmp_path / run.METRICS).write_text('{"update": 1}\n{"update": 2}\n{"upda')
    with run.Metrics(tmp_path, 1) as metrics:
        metrics.log(update=2, loss=0.5)
    assert metrics.read() == [{"update": 1}, {"update": 2, "loss": 0.5}]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--text missing.txt", "the file does not exist"),
        ("--resume nowhere", "the folder has no config.json"),
        ("--held-out 1.5", "between 0 and 1"),
    ],
)
def test_wrong_arguments_are_refused_in_words(arguments, message):
    process = start(arguments)
    output = process.communicate()[0]
    assert process.returncode != 0
    assert message in " ".join(output.split())
    assert "Traceback" not in output


def test_bits_per_character_of_the_baselines(book):
    data = text.load(book, 0.1)
    symbols = data.train.tolist() + data.held_out.tolist()
    assert bytes(symbols) == book.read_bytes()
    held_out = bytes(data.held_out.tolist())
    assert text.characters(data.held_out) == pytest.approx(
        len(held_out.decode(errors="ignore")), abs=1
    )
    counts = np.ones(256)
    for symbol in data.train:
        counts[symbol] += 1
    want = -sum(np.log2(counts[s] / counts.sum()) for s in data.held_out)
    got = text.unigram_bits(data) * text.characters(data.held_out)
    assert got == pytest.approx(want)
    assert text.bigram_bits(data) < 0.8 * text.unigram_bits(data)


def test_evaluation_counts_every_symbol_once(book):
    """A model that knows nothing needs 8 bits a symbol, whatever the windows."""
    import jax
    import jax.numpy as jnp

    data = text.load(book, 0.1)
    model = language_model.make_model(Config(hidden=4, embedding=4))
    params = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0)))
    for steps, batch in ((16, 3), (500, 1), (7, 64)):
        evaluate = language_model.make_evaluate(model, data.held_out, steps, batch)
        streams = min(batch, len(data.held_out) // 2)
        length = len(data.held_out) // streams
        counted = data.held_out[: streams * length].reshape(streams, length)[:, 1:]
        want = 8 * counted.size / text.characters(counted)
        assert evaluate(params) == pytest.approx(want, rel=1e-5)


def test_the_standard_library_is_at_hand():
    source = text.standard_library()
    assert len(source) > 10**6
    assert b"def " in source
