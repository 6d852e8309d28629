"""Translates German captions to English with an encoder-decoder with attention."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import optax

from ..common import Options, Result, Results, Run, count, fit, text
from . import data
from .data import Pairs, Shuffled
from .model import Translator, make_loss
from .picture import draw
from .translate import Task, by_length, choose, example, samples, test


@dataclass(frozen=True)
class Config(Options):
    """Train a translator from German to English, and translate the test sentences."""

    minimum: int = 2
    """How often a word must occur in the training sentences to be in the vocabulary."""
    embedding: int = 192
    """Features of a word's embedding."""
    hidden: int = 192
    """Hidden units of the encoder in each direction; the decoder has twice as many."""
    dropout: float = 0.3
    """Fraction of features dropped after embeddings, encoder and attention."""
    smoothing: float = 0.1
    """Share of the uniform distribution in the targets."""

    batch: int = 64
    """Pairs of sentences of each update."""
    steps: tuple[int, ...] = (12, 16, 20, 28)
    """Lengths that sentences are padded to, and the length of the longest."""
    epochs: int = 8
    """Passes over the training sentences."""
    learning_rate: float = 1.5e-3
    """Peak learning rate of Adam; it warms up, then decays to a tenth."""
    max_norm: float = 1.0
    """Global norm above which the gradient is scaled down."""
    sampling: float = 0.25
    """Probability that an input is sampled, in the updates with scheduled sampling."""
    sampled_updates: int = 300
    """Updates with scheduled sampling after the others, at a tenth of the learning rate."""
    seed: int = 0
    """Seed of the initial weights, of dropout and of the order of the sentences."""

    width: int = 5
    """Width of the beam search."""
    penalties: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5)
    """Length penalties of the beam search; the best on the validation sentences is taken."""


SMALL = Config(
    minimum=1, embedding=16, hidden=16, dropout=0.1, smoothing=0.0, batch=16, steps=(),
    epochs=20, learning_rate=2e-2, sampled_updates=5, width=2, penalties=(0.0,),
)  # fmt: skip


def main(config: Config, run: Run) -> Results:
    """Trains one translator, chooses settings on the validation sentences, and tests it."""
    splits = data.load(config.data_dir)
    de, en = (data.Vocabulary(s, config.minimum) for s in splits["train"])
    run.say(f"{len(de):,} German words, {len(en):,} English ones")
    model = Translator(
        len(de), len(en), config.embedding, config.hidden, config.dropout
    )
    pairs = {name: Pairs(split, de, en, config.steps) for name, split in splits.items()}
    tasks = {
        n: Task(model, splits[n], pairs[n], en, config.batch) for n in ("val", "test")
    }
    fitted, seconds = train(config, run, model, pairs["train"], tasks["val"])
    chosen = run.once(
        "validation",
        lambda: choose(tasks["val"], fitted, config.width, config.penalties),
    )
    texts = run.once(
        "test",
        lambda: test(tasks["test"], splits["train"], fitted, config.width, chosen),
    )
    task, params = tasks["test"], fitted[chosen["training"]]
    scores = {name: task.bleu(hypotheses) for name, hypotheses in texts.items()}
    shown = ("beam search", "greedy", "nearest sentence")
    lengths = {name: by_length(texts[name], task.split, (9, 12, 16)) for name in shown}
    draw(
        run.picture,
        run.metrics("training"),
        lengths,
        example(task, params, config.width),
    )
    facts = {
        "chosen": chosen,
        "perplexity": task.perplexity(params),
        "samples": samples(task.split, texts["beam search"]),
    }
    return Results((row(count(params), scores, seconds),), facts)


def row(parameters: int, scores: dict[str, float], seconds: float) -> Result:
    """The line of the table: beam search, and all others as its baselines."""
    return Result(
        "German to English (many-to-many, attention)",
        "GRU",
        parameters,
        "BLEU",
        (scores["beam search"],),
        seconds,
        goal="at least 30",
        baselines={name: s for name, s in scores.items() if name != "beam search"},
        published={
            "Trevett (notebook), GRU, words, greedy": 28.1,
            "msarmi9 (model card), subwords": 33.5,
        },
        digits=1,
    )


def train(
    config: Config, run: Run, model: Translator, pairs: Pairs, val: Task
) -> tuple[dict[str, Any], float]:
    """The parameters after teacher forcing, and those after scheduled sampling as well."""
    batches = Shuffled(pairs, config.batch, config.seed)
    updates = config.epochs * batches.per_epoch

    def evaluate(params):
        bleu = val.bleu(val.text(val.translate(params, width=1), copy=False))
        return {"perplexity": val.perplexity(params), "bleu": bleu, "error": 100 - bleu}

    learn = partial(
        fit, run, batch=batches.__getitem__, seed=config.seed, max_norm=config.max_norm,
        evaluate=evaluate, evaluate_every=batches.per_epoch, choose="error",
    )  # fmt: skip
    forced, seconds = learn(
        "training",
        model.init(jax.random.key(config.seed)),
        make_loss(model, config.smoothing),
        optimizer=text.warm_adam(config.learning_rate, updates),
        updates=updates,
    )
    sampled, _ = learn(
        "scheduled-sampling",
        forced,
        make_loss(model, config.smoothing, config.sampling),
        optimizer=optax.adam(config.learning_rate / 10),
        updates=config.sampled_updates,
    )
    return {"teacher forcing": forced, "scheduled sampling": sampled}, seconds
