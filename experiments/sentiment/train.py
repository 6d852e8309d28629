"""Sentiment of sentences in ten folds: a bidirectional GRU, and six kinds of dropout."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from ..common import Options, Result, Results, Run, count, fit
from .data import Sentences, Vocabulary, load
from .judge import Judge
from .model import VARIANTS, Classifier, make_loss
from .picture import draw


PUBLISHED = {"CNN-rand, Kim 2014": 76.1}
MAIN = "Dropout, words"


@dataclass(frozen=True)
class Config(Options):
    """Judge sentences of film reviews with a bidirectional GRU."""

    embedding: int = 64
    """Features of a word's embedding."""
    hidden: int = 64
    """Units of the GRU of each direction."""
    batch: int = 64
    """Sentences of a batch."""
    epochs: int = 6
    """Times that each sentence is read."""
    learning_rate: float = 3e-3
    """Learning rate of AdamW at the start; it falls to a tenth."""
    weight_decay: float = 1e-2
    """Weight decay of AdamW."""
    folds: int = 10
    """Folds of the cross-validation."""
    variant_folds: int = 3
    """Of these, the folds for the comparison of dropouts."""
    validation: bool = False
    """Test on a tenth of the sentences to train on, for the choice of settings."""


SMALL = Config(
    embedding=8, hidden=8, batch=16, epochs=12, learning_rate=3e-2, folds=2, variant_folds=0
)  # fmt: skip


def main(config: Config, run: Run) -> Results:
    """Trains the main variant on all folds, and the others on the first ones."""
    sentences = load(config.data_dir)
    folds = split(config, sentences)
    baseline = run.once("naive-bayes", lambda: naive_bayes(sentences, folds))
    names = [
        MAIN,
        *(name for name in VARIANTS if name != MAIN and config.variant_folds),
    ]
    accuracies: dict[str, list[float]] = {name: [] for name in names}
    rows, examples = [], []
    for name in names:
        many = config.folds if name == MAIN else config.variant_folds
        total, size = 0.0, 0
        for number, fold in enumerate(folds[:many]):
            trained = train(config, run, name, number, sentences[fold[0]])
            accuracies[name].append(trained.accuracy(sentences[fold[1]]))
            total, size = total + trained.seconds, count(trained.params)
            if name == MAIN and number == 0:
                examples = trained.examples(sentences[fold[1]])
            jax.clear_caches()  # Linux limits memory mappings, and each fold has programs
        rows.append(row(name, accuracies[name], baseline, size, total))
    draw(run.picture, accuracies, baseline, PUBLISHED, examples)
    return Results(tuple(rows), {"naive Bayes": baseline, "accuracies": accuracies})


def split(config: Config, sentences: Sentences) -> list[tuple[np.ndarray, np.ndarray]]:
    """The indices to train on and to test on, for each fold."""
    labels = sentences.positive
    kfold = StratifiedKFold(max(2, config.folds), shuffle=True, random_state=0)
    folds = list(kfold.split(sentences.texts, labels))
    if not config.validation:
        return folds
    part = lambda i: train_test_split(
        i, test_size=0.1, random_state=0, stratify=labels[i]
    )
    return [tuple(part(train)) for train, _ in folds]


def naive_bayes(
    sentences: Sentences, folds: list[tuple[np.ndarray, np.ndarray]]
) -> Any:
    """The accuracy in % of naive Bayes on words and pairs of words, for each fold."""

    def accuracy(train: Sentences, test: Sentences) -> float:
        counts = CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=r"\S+")
        model = make_pipeline(counts, MultinomialNB())
        model.fit(train.texts, train.positive)
        return 100 * float(model.score(test.texts, test.positive))

    return [accuracy(sentences[train], sentences[test]) for train, test in folds]


def train(
    config: Config, run: Run, name: str, fold: int, sentences: Sentences
) -> Judge:
    """Trains one variant on one fold."""
    vocabulary = Vocabulary(sentences.texts)
    model = Classifier(len(vocabulary), config.embedding, config.hidden, VARIANTS[name])
    encoded = vocabulary.encode(sentences)
    updates = config.epochs * (len(sentences) // config.batch)
    rate = config.learning_rate
    schedule = optax.linear_schedule(rate, rate / 10, updates)
    params, seconds = fit(
        run,
        f"{name.replace(', ', '-')}/fold-{fold}",
        model.init(jax.random.key(fold)),
        make_loss(model),
        lambda position: encoded.draw(position, config.batch, fold),
        optax.adamw(schedule, weight_decay=config.weight_decay),
        updates=updates,
        seed=fold,
        max_norm=1.0,
    )
    return Judge(model, vocabulary, params, seconds)


def row(
    name: str, values: list[float], baseline: list[float], size: int, seconds: float
) -> Result:
    """The line of one variant."""
    main, many = name == MAIN, len(values)
    return Result(
        "sentiment of sentences (many-to-one)",
        f"Bidirectional GRU, dropout: {name}",
        size,
        "accuracy in %",
        tuple(values),
        seconds,
        goal="at least 76.1" if main else "",
        baselines={"naive Bayes, same folds": float(np.mean(baseline[:many]))},
        published=PUBLISHED if main else {},
        digits=1,
        headline=main,
    )
