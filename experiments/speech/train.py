"""Spoken digits: known speakers, speakers left out, and strings of digits by CTC."""

from dataclasses import dataclass

from ..common import Options, Result, Results, Run, count
from . import tasks
from .baselines import compare
from .data import load
from .picture import draw
from .splits import split


CELL = "GRU, bidirectional"


@dataclass(frozen=True)
class Config(Options):
    """Train GRUs on spoken digits: known speakers, each speaker left out, and strings."""

    bands: int = 32
    """Mel bands of a frame."""
    stack: int = 2
    """Frames of 10 ms that are one step of the network."""
    hidden: int = 96
    """Hidden units of each GRU in each direction."""
    layers: int = 2
    """Number of stacked bidirectional GRUs."""
    dropout: float = 0.2
    """Fraction of features dropped after each GRU during training."""
    strength: float = 0.15
    """The most by which pitch, formants and duration change in training, as a fraction."""
    known_strength: float = 0.08
    """The same for speakers who are known; 0 for no change at all."""

    batch: int = 50
    """Digits of a batch."""
    steps: int = 72
    """Steps of a digit; what is longer is cut off in training."""
    updates: int = 1000
    """Number of updates of each network for digits."""
    string_batch: int = 16
    """Strings of a batch."""
    string_steps: int = 300
    """Steps of a string; what is longer is cut off in training."""
    string_updates: int = 1000
    """Number of updates of the network for strings."""
    learning_rate: float = 3e-3
    """Peak learning rate of Adam; it warms up, then decays to a hundredth."""
    seeds: int = 3
    """Number of networks for known speakers, each with its own seed."""

    most: int = 7
    """The most digits of a string."""
    test_strings: int = 300
    """Number of strings to test."""
    width: int = 16
    """Prefixes that the beam search keeps."""
    validate: bool = False
    """Choose settings: without one speaker and the official test recordings, test on others."""


SMALL = Config(
    bands=12, hidden=12, layers=1, dropout=0.0, strength=0.02, known_strength=0.02, seeds=1,
    batch=16, steps=12, updates=40, string_batch=8, string_steps=30, string_updates=200,
    learning_rate=2e-2, most=2, test_strings=20, width=3,
)  # fmt: skip


def main(config: Config, run: Run) -> Results:
    """The three tasks, one after the other."""
    splits = split(load(config.data_dir), validate=config.validate)
    known, left_out = splits
    run.say(f"{len(known.train)} recordings to train on, {len(known.test)} to test")
    simple = run.once("baselines", lambda: compare(splits))
    net = tasks.digit_network(config)
    old = [
        tasks.recognize_digits(
            run, config, net, f"known/seed-{seed}", known, seed, config.known_strength
        )
        for seed in range(config.seeds)
    ]
    new = [
        tasks.recognize_digits(
            run, config, net, f"left-out/{name}", part, 0, config.strength
        )
        for name, part in left_out.items()
    ]
    by_speaker = {
        "GRU": dict(zip(left_out, (o.values["GRU"] for o in new), strict=True))
    }
    for method in simple["known"]:
        by_speaker[method] = {name: simple[name][method] for name in left_out}
    means = {
        how: sum(v.values()) / len(v) for how, v in by_speaker.items() if how != "GRU"
    }
    net = tasks.string_network(config)
    strings = tasks.test_strings(config, known)
    long = tasks.recognize_strings(run, config, net, "strings", known, strings)
    draw(run.picture, *tasks.example(config, net, long.params, strings), by_speaker)
    rows = (
        row("digit, known speakers (many-to-one)", old, simple["known"], "at least 0.99"),
        row("digit, speaker left out (many-to-one)", new, means, "at least 0.85"),
        Result(
            f"string of 1 to {config.most} digits, CTC (many-to-many)", CELL,
            count(long.params), "label error rate", (long.values["beam search"],),
            long.seconds, baselines={"best path": long.values["best path"]}, digits=4,
        ),
    )  # fmt: skip
    return Results(rows, {"left out": by_speaker, "strings": long.values})


def row(
    task: str, outcomes: list[tasks.Outcome], simple: dict[str, float], goal: str
) -> Result:
    """The line of a task with digits."""
    values = tuple(outcome.values["GRU"] for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes)
    parameters = count(outcomes[0].params)
    return Result(task, CELL, parameters, "accuracy", values, seconds, goal, simple)
