"""Names of emoji: a convolutional encoder and an LSTM, tested on unseen combinations."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

from ..common import Options, Result, Results, Run, count, fit
from .data import Emoji, Vocabulary, augmented, load
from .evaluation import bleu, exact, nearest_names, write
from .model import Batch, Captioner, make_loss
from .picture import draw


TESTS = {
    "tone": "a skin tone that is new to this emoji",
    "person": "a man or a woman who is new to this activity",
    "picture": "wholly new pictures",
}
COMBINATIONS = "unseen combinations, both kinds"


@dataclass(frozen=True)
class Config(Options):
    """Name emoji with a convolutional encoder and an LSTM."""

    channels: int = 24
    """Channels of the first convolution; the others have twice and three times as many."""
    features: int = 256
    """Features of a picture, which the LSTM reads with each word."""
    embedding: int = 64
    """Features of a word's embedding."""
    hidden: int = 128
    """Units of the LSTM."""
    dropout: float = 0.3
    """Fraction of features dropped before and after the LSTM."""
    batch: int = 64
    """Pictures of a batch."""
    updates: int = 4000
    """Number of updates."""
    learning_rate: float = 3e-3
    """Peak learning rate of AdamW; it rises, then falls to near 0."""
    weight_decay: float = 1e-2
    """Weight decay of AdamW."""
    shift: int = 2
    """Largest shift of a picture in pixels, for augmentation."""
    tint: float = 0.02
    """Standard deviation of the shift of a picture's colors, for augmentation."""
    width: int = 4
    """Names that beam search keeps."""
    seeds: int = 1
    """Number of seeds, of the initial weights and of the batches."""
    validation: bool = False
    """Hold combinations of the training pictures out too, and test on these."""


SMALL = Config(
    channels=4,
    features=16, embedding=8, hidden=32, batch=16, updates=120, learning_rate=1e-2,
    dropout=0.0, shift=0, tint=0.0, width=2,
)  # fmt: skip


def main(config: Config, run: Run) -> Results:
    """Trains for each seed, and names the pictures of the tests."""
    emoji = load(config.data_dir)
    if config.validation:
        emoji = emoji.within_training()
    train = emoji.part("train")
    vocabulary = Vocabulary(train.names)
    nearest = run.once("nearest", lambda: nearest_names(train, emoji))
    sizes = config.channels, config.features, config.embedding, config.hidden
    model = Captioner(len(vocabulary), *sizes, config.dropout)
    written, seconds, size = [], 0.0, 0
    for seed in range(config.seeds):
        params, added = fitted(config, run, model, vocabulary, train, seed)
        written.append(write(model, params, vocabulary, emoji, config.width))
        seconds, size = seconds + added, count(params)
    draw(run.picture, emoji, written[-1], nearest)
    rows = [
        row(kind, tests, emoji, written, nearest, size, seconds)
        for kind in ("exact", "BLEU")
        for tests in (("tone", "person"), ("tone",), ("person",), ("picture",))
    ]
    return Results(
        tuple(rows), {"pictures": emoji.counts(), "words": len(vocabulary) - 1}
    )


def fitted(
    config: Config, run: Run, model: Captioner, vocabulary: Vocabulary, train: Emoji, seed: int
) -> tuple[Any, float]:  # fmt: skip
    """The parameters after the training, and the seconds of it."""
    names, lengths = vocabulary.encode(train.names)

    def batch(position: int) -> Batch:
        rng = np.random.default_rng((seed, position))
        chosen = rng.integers(len(lengths), size=config.batch)
        pictures = augmented(train.pictures[chosen], config.shift, config.tint, rng)
        return Batch(pictures, names[:, chosen], lengths[chosen])

    schedule = optax.cosine_onecycle_schedule(config.updates, config.learning_rate)
    return fit(
        run,
        f"seed-{seed}",
        model.init(jax.random.key(seed)),
        make_loss(model),
        batch,
        optax.adamw(schedule, weight_decay=config.weight_decay),
        updates=config.updates,
        seed=seed,
        max_norm=1.0,
    )


def row(
    kind: str, tests: tuple[str, ...], emoji: Emoji, written: list[dict[str, list[str]]],
    nearest: list[str], size: int, seconds: float,
) -> Result:  # fmt: skip
    """One measure, for one test or for both kinds of combinations."""
    measure = exact if kind == "exact" else bleu
    chosen = np.flatnonzero(np.isin(emoji.parts, tests))
    values = [measure(emoji, names["beam search"], chosen) for names in written]
    baselines = {"nearest picture": measure(emoji, nearest, chosen)}
    if kind == "exact":
        greedy = [measure(emoji, names["greedy"], chosen) for names in written]
        baselines["the same LSTM, greedy"] = float(np.mean(greedy))
    both = len(tests) == 2
    return Result(
        f"names of pictures: {TESTS[tests[0]] if not both else COMBINATIONS} (one-to-many)",
        "LSTM",
        size,
        "exact names in %" if kind == "exact" else "BLEU",
        tuple(values),
        seconds,
        goal="at least 80" if both and kind == "exact" else "",
        baselines=baselines,
        digits=1,
        headline=(kind == "exact") == both
        and tests != ("tone",)
        and tests != ("person",),
    )
