"""A chatbot: a language model of conversations, against an n-gram model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from ..common import Options, Results, Run, count, fit, text
from . import chat, data
from .measures import Trained, measure, results
from .model import Batches, Talker, make_loss, make_nats, padded
from .picture import draw
from .speak import joined


@dataclass(frozen=True)
class Config(Options):
    """Train a chatbot on short conversations, and compare it with simpler methods."""

    chat: Path | None = None
    """The folder of a finished run to talk with, in the terminal; nothing is trained."""

    splits: int = 5
    """Random splits; a model is trained for each."""
    held_out: float = 0.1
    """Fraction of the conversations for validation, and again for the test."""
    minimum: int = 2
    """How often a word must occur in the training part to be in the vocabulary."""
    hidden: int = 200
    """Hidden units of the GRU, and features of a word's embedding."""
    dropout: float = 0.6
    """Fraction of features dropped before and after the GRU."""
    weight_drop: float = 0.3
    """Fraction of recurrent weights dropped for each batch."""
    unknown: float = 0.1
    """Fraction of input words that are replaced by the unknown word in training."""
    weight_decay: float = 0.1
    """Weight decay of AdamW."""

    batch: int = 16
    """Streams of conversations that are read in parallel."""
    steps: int = 32
    """Time steps of a batch, and of backpropagation."""
    epochs: int = 50
    """Passes over the training conversations."""
    learning_rate: float = 3e-3
    """Initial learning rate of AdamW; it decays to a twentieth."""
    orders: tuple[int, ...] = (2, 3, 4, 5, 6, 7)
    """Orders of the n-gram model; the best on the validation part is taken."""

    temperature: float = 0.7
    """Temperature of the replies that are sampled."""
    top_p: float = 0.9
    """Smallest probability of the set of words that replies are sampled from."""
    seed: int = 0
    """Seed of the first split, its weights and dropout; the others follow."""


SMALL = Config(
    splits=2, minimum=1, hidden=32, dropout=0.0, weight_drop=0.0, unknown=0.0,
    weight_decay=0.0, batch=4, steps=16, epochs=30, learning_rate=2e-2, orders=(2,),
)  # fmt: skip


ASKED = (
    "hello",
    "how are you?",
    "what is your name?",
    "tell me a joke",
    "are you alive?",
)
"""The lines of the conversation in the picture."""


def main(config: Config, run: Run) -> Results:
    """Trains a model for each split, and compares its perplexity and its replies."""
    conversations = data.load(config.data_dir)
    run.say(f"{len(conversations):,} distinct conversations")
    parts = [one_split(config, run, conversations, k) for k in range(config.splits)]
    bot = chat.opened(run.folder, config.temperature, config.top_p, config.seed)
    conversation = [(line, joined(list(bot.reply(line)))) for line in ASKED]
    found = [one for one, _, _ in parts]
    draw(
        run.picture,
        [run.metrics(f"split-{k}") for k in range(config.splits)],
        {name: [one[name] for one in found] for name in ("Kneser-Ney", "GRU", "mixed")},
        conversation,
    )
    rows = results(found, count(parts[0][1]), sum(seconds for *_, seconds in parts))
    return Results(rows, {"splits": found, "conversation": conversation})


def one_split(
    config: Config, run: Run, conversations: list[data.Conversation], k: int
) -> tuple[dict[str, float], Any, float]:
    """The measures, the parameters and the seconds of training of one split."""
    parts, seed = (
        data.split(conversations, config.held_out, config.seed + k),
        config.seed + k,
    )
    vocabulary = data.Vocabulary.of(parts.train, config.minimum)
    known, val = ([vocabulary.conversation(c) for c in part] for part in parts[:2])
    model = Talker(len(vocabulary), config.hidden, config.dropout)
    batches = Batches(known, config.batch, config.steps, seed)
    updates = config.epochs * batches.per_epoch
    schedule = optax.cosine_decay_schedule(config.learning_rate, updates, 0.05)
    nats = make_nats(model, padded(val, config.batch))
    params = model.init(jax.random.key(seed))
    params, seconds = fit(
        run,
        f"split-{k}",
        params,
        make_loss(model, config.weight_drop, config.unknown),
        batches.__getitem__,
        optax.adamw(schedule, weight_decay=config.weight_decay),
        updates=updates,
        carry=text.initial_carry(model.layers, model.tied(params), config.batch),
        seed=seed,
        max_norm=1.0,
        evaluate=lambda params: {"perplexity": float(np.exp(nats(params).mean()))},
        evaluate_every=2 * batches.per_epoch,
        choose="perplexity",
    )
    trained = Trained(model, params, vocabulary)
    if k == 0:
        chat.save(run.folder, trained)
    compute = lambda: measure(trained, parts, config.orders)
    return run.once(f"measures-{k}", compute), params, seconds


def talk(options: Config) -> int:
    """Talks with the bot of the run `options.chat`."""
    assert options.chat is not None
    chat.talk(
        chat.opened(options.chat, options.temperature, options.top_p, options.seed)
    )
    return 0
