"""A chatbot: a language model of conversations, against an n-gram model."""

from dataclasses import dataclass, replace
from pathlib import Path

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


ASKED = "hello|how are you?|what is your name?|tell me a joke|are you alive?".split("|")
"""The lines of the conversation in the picture."""


def main(config: Config, run: Run) -> Results:
    """Trains a model for each split, and one that recites; compares them all."""
    conversations = data.load(config.data_dir)
    run.say(f"{len(conversations):,} distinct conversations")
    names = [f"split-{k}" for k in range(config.splits)]
    parts = [one(config, run, name, conversations, k) for k, name in enumerate(names)]
    found = [measures for measures, *_ in parts]
    # the model that --chat talks with learns its lines by heart
    by_heart = replace(
        config, dropout=0.1, weight_drop=0.0, unknown=0.0, weight_decay=0.0
    )
    recited, trained, more = one(by_heart, run, "reciting", conversations, 0)
    chat.save(run.folder, trained)
    bot = chat.opened(run.folder, config.temperature, config.top_p, config.seed)
    conversation = [(line, joined(list(bot.reply(line)))) for line in ASKED]
    draw(
        run.picture,
        [run.metrics(name) for name in names],
        {
            name: [each[name] for each in found]
            for name in ("Kneser-Ney", "GRU", "mixed")
        },
        conversation,
    )
    seconds = sum(seconds for *_, seconds in parts), more
    rows = results(found, recited, count(trained.params), seconds)
    facts = {"splits": found, "reciting": recited, "conversation": conversation}
    return Results(rows, facts)


def one(
    config: Config, run: Run, name: str, conversations: list[data.Conversation], k: int
) -> tuple[dict[str, float], Trained, float]:
    """The measures of a model on one split, the model, and its seconds of training."""
    seed = config.seed + k
    parts = data.split(conversations, config.held_out, seed)
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
        name,
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
        choose=None if name == "reciting" else "perplexity",
    )
    trained = Trained(model, params, vocabulary)
    compute = lambda: measure(trained, parts, config.orders)
    return run.once(f"measures-{name}", compute), trained, seconds


def talk(options: Config) -> int:
    """Talks with the bot of the run `options.chat`."""
    assert options.chat is not None
    how = options.temperature, options.top_p, options.seed
    chat.talk(chat.opened(options.chat, *how))
    return 0
