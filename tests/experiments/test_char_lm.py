"""The experiment, small: it runs, it learns, and a crash at any moment costs nothing."""

import os
import random
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.char_lm import train
from experiments.common import text
from experiments.common.ngrams import mixture_bits

from .helpers import finish, lines, losses, start


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A text with structure, and with letters of more than one byte."""
    words = ["one", "two", "three", "für", "größer", "→"]
    pick = random.Random(0)
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text(" ".join(pick.choice(words) for _ in range(3000)))
    return path


@pytest.fixture(scope="module")
def whole(book, tmp_path_factory):
    """An uninterrupted run, with dropout, so that random keys matter."""
    runs = tmp_path_factory.mktemp("runs")
    options = f"run char_lm --small --text {book} --runs {runs}"
    options += " --dropout 0.2 --save-seconds 0.3"
    output = finish(options + " --name whole")
    return options, runs / "whole", output


def test_a_run_leaves_what_it_promises(whole):
    _, folder, output = whole
    training = folder / "training"
    assert len(losses(training)) == 60
    assert np.mean(losses(training)[-5:]) < 0.8 * losses(training)[0]
    evaluated = [m["update"] for m in lines(training) if "bits" in m]
    assert evaluated == [20, 40, 60]
    assert (folder / "picture.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (training / "checkpoints" / "60").is_dir()
    assert len((training / "sample.txt").read_text()) > 100
    for word in ("unigram", "bigram", "LSTM", "|gradient|", "bits"):
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
        arguments = f"run char_lm --resume {name}"
    finish(arguments)
    assert metrics(name) == metrics(folder)


METRICS = "training/metrics.jsonl"


def metrics(folder: Path) -> bytes:
    return (folder / METRICS).read_bytes()


def progress(folder: Path) -> int:
    """The number of the last update that was logged."""
    file = folder / METRICS
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
    again = f"run char_lm --resume {name}"
    assert f"python -m experiments {again}" in output.replace("\n", " ")
    finish(again)
    assert metrics(name) == metrics(folder)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("run char_lm --text missing.txt", "the file does not exist"),
        ("run char_lm --resume nowhere", "the folder has no config.json"),
        ("run char_lm --held-out 1.5", "between 0 and 1"),
    ],
)
def test_wrong_arguments_are_refused_in_words(arguments, message, tmp_path):
    process = start(f"{arguments} --runs {tmp_path}")
    output = process.communicate()[0]
    assert process.returncode != 0
    assert message in " ".join(output.split())
    assert "Traceback" not in output
    assert not list(tmp_path.iterdir())


def test_bits_per_character_of_the_baselines(book):
    data = text.load(book, 0.1)
    symbols = data.train.tolist() + data.held_out.tolist()
    assert bytes(symbols) == book.read_bytes()
    held_out = bytes(data.held_out.tolist())
    assert text.characters(data.held_out) == pytest.approx(
        len(held_out.decode(errors="ignore")), abs=1
    )
    assert text.context_bits(data, 1) < 0.8 * text.context_bits(data, 0)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_the_mixture_of_contexts_counts(order):
    rng = np.random.default_rng(0)
    train, held_out = rng.integers(0, 4, 200) % 3, rng.integers(0, 4, 50)
    counts: dict[tuple, dict[int, int]] = {}
    for k in range(order + 1):
        for i in range(k, len(train)):
            after = counts.setdefault(tuple(train[i - k : i]), {})
            after[train[i]] = after.get(train[i], 0) + 1
    symbols = [*train[len(train) - order :], *held_out]
    got = mixture_bits(train, held_out, 4, order)
    for i, bits in enumerate(got, order):
        p = 1 / 4
        for k in range(order + 1):
            after = counts.get(tuple(symbols[i - k : i]))
            if after is not None:
                n, d = sum(after.values()), len(after)
                p = (after.get(symbols[i], 0) + d * p) / (n + d)
        assert bits == pytest.approx(-np.log2(p))


def test_too_many_contexts_for_a_code_are_refused():
    with pytest.raises(ValueError, match="order=8 is too high"):
        mixture_bits(np.zeros(20, int), np.zeros(3, int), 256, 8)


def test_evaluation_counts_every_symbol_once(book):
    """A model that knows nothing needs 8 bits a symbol, whatever the windows."""
    data = text.load(book, 0.1)
    model = train.make_model(train.Config(hidden=4, embedding=4))
    params = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0)))
    for steps, batch in ((16, 3), (500, 1), (7, 64)):
        evaluate = text.make_evaluate(model, data.held_out, steps, batch)
        streams = min(batch, len(data.held_out) // 2)
        length = len(data.held_out) // streams
        counted = data.held_out[: streams * length].reshape(streams, length)[:, 1:]
        want = 8 * counted.size / text.characters(counted)
        assert evaluate(params) == pytest.approx(want, rel=1e-5)


def test_the_standard_library_is_at_hand():
    source = text.standard_library()
    assert len(source) > 10**6
    assert b"def " in source
