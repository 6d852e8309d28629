"""Splice junctions: a bidirectional GRU, read out at the junction, and cross-validation."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.naive_bayes import CategoricalNB

import jaxrnn

from ..common import Result, Run, count, fit
from .data import CLASSES, LENGTH


if TYPE_CHECKING:
    from .train import Config


STATLOG = {
    "Michie et al. 1994, radial basis": 0.959,
    "Michie et al. 1994, Bayes": 0.932,
}
"""StatLog's results with 2,000 rows for training and 1,186 for the test."""


def make_model(config: "Config") -> jaxrnn.Stack:
    """Bidirectional GRUs over the embedded bases, and a linear layer to the classes."""
    units, width = config.splice_units, config.splice_embedding
    layers: list[jaxrnn.Layer] = [jaxrnn.Embedding(4, width)]
    for _ in range(config.splice_layers):
        layers += [
            jaxrnn.VariationalDropout(config.splice_dropout),
            jaxrnn.Bidirectional(jaxrnn.GRU(width, units)),
        ]
        width = 2 * units
    layers.append(jaxrnn.VariationalDropout(config.splice_dropout))
    return jaxrnn.Stack((*layers, jaxrnn.Dense(width, len(CLASSES))))


def logits(model: jaxrnn.Layer, params: Any, bases: Any, key: Any = None) -> jax.Array:
    """Scores of the classes `(N, 3)`: the output at base 30, the last before the junction.

    There, the forward GRU has read the bases before the junction and the backward GRU those
    after it.
    """
    _, ys = jaxrnn.unroll(model, params, jnp.asarray(bases).T, key=key)
    return ys[LENGTH // 2 - 1]


def make_loss(model: jaxrnn.Layer) -> Any:
    """The cross-entropy of a batch `(bases, classes)`."""

    def loss(params, carry, key, batch):
        bases, classes = batch
        scores = logits(model, params, bases, key)
        losses = optax.softmax_cross_entropy_with_integer_labels(scores, classes)
        return jnp.mean(losses), carry

    return loss


def folds(bases: np.ndarray, classes: np.ndarray, count: int) -> list[Any]:
    """`(train, test)` indices; equal sequences are in the same fold, classes are balanced."""
    _, group = np.unique(bases, axis=0, return_inverse=True)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=0)
    return list(splitter.split(bases, classes, group.ravel()))


def train_one(
    config: "Config", run: Run, name: str, bases: np.ndarray, classes: np.ndarray
) -> Any:
    """Trains with AdamW on some rows; returns the moving average of the parameters."""
    model = make_model(config)
    size = min(config.splice_batch, len(bases))
    per_epoch = len(bases) // size
    updates = config.splice_epochs * per_epoch

    def batch(position):
        epoch, index = divmod(position, per_epoch)
        order = np.random.default_rng(epoch).permutation(len(bases))
        rows = order[index * size : (index + 1) * size]
        return bases[rows], classes[rows]

    schedule = optax.cosine_decay_schedule(config.splice_learning_rate, updates)
    return fit(
        run,
        name,
        model.init(jax.random.key(0)),
        make_loss(model),
        batch,
        optax.adamw(schedule, weight_decay=1e-2),
        updates=updates,
        max_norm=1.0,
        average=0.99,
    )


def study(config: "Config", run: Run, bases: np.ndarray, classes: np.ndarray) -> Any:
    """The row of the table, and the effect of each base, for the picture."""
    model = make_model(config)
    predict = jax.jit(lambda params, bases: logits(model, params, bases))
    right, simple, seconds = [], [], 0.0
    effect = np.zeros((len(CLASSES), LENGTH))
    splits = folds(bases, classes, config.folds)
    for i, (train, test) in enumerate(splits):
        name = f"splice/fold-{i}"
        params, taken = train_one(config, run, name, bases[train], classes[train])
        seconds += taken
        guess = np.asarray(predict(params, bases[test])).argmax(axis=1)
        right.append(float(accuracy_score(classes[test], guess)))
        bayes = CategoricalNB(min_categories=4).fit(bases[train], classes[train])
        simple.append(float(accuracy_score(classes[test], bayes.predict(bases[test]))))
        effect += effects(predict, params, bases[test], classes[test]) / len(splits)
    row = Result(
        "splice junctions (many-to-one)",
        "bidirectional GRU",
        count(params),
        "accuracy",
        tuple(right),
        seconds,
        goal="at least 0.96",
        baselines={"naive Bayes": float(np.mean(simple))},
        published=STATLOG,
    )
    return row, effect


def effects(predict: Any, params: Any, bases: np.ndarray, classes: np.ndarray) -> Any:
    """The mean fall of log p(class) when a base is replaced, `(classes, positions)`.

    The mean is over the three other bases and over the rows of a class.
    """
    rows = np.arange(len(bases))

    def surprise(changed):
        scores = jax.nn.log_softmax(predict(params, changed), axis=-1)
        return np.asarray(scores)[rows, classes]

    whole, fall = surprise(bases), np.zeros((len(bases), LENGTH))
    for position in range(LENGTH):
        for shift in (1, 2, 3):
            changed = bases.copy()
            changed[:, position] = (changed[:, position] + shift) % 4
            fall[:, position] += (whole - surprise(changed)) / 3
    return np.stack([fall[classes == k].mean(axis=0) for k in range(len(CLASSES))])
