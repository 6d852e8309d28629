"""The next base of a genome: a GRU trained on both strands, and counts of contexts."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

import jaxrnn
from jaxrnn import training

from ..common import Result, Run, count, fit, text
from .data import Genome, reverse_complement


if TYPE_CHECKING:
    from .train import Config


def study(config: "Config", run: Run, genome: Genome, foreign: np.ndarray) -> Any:
    """Rows of the table, and the bits of all methods by name, for the picture."""
    strands = np.concatenate((genome.train, reverse_complement(genome.train)))
    model = jaxrnn.Stack(
        (
            jaxrnn.Embedding(4, config.embedding),
            jaxrnn.GRU(config.embedding, config.units),
            jaxrnn.Dense(config.units, 4),
        )
    )
    params, seconds = _train(config, run, model, strands, genome.validation)
    tests = {
        "E. coli, last tenth": genome.test,
        "its other strand": reverse_complement(genome.test),
        "phage lambda": foreign,
    }
    simple = run.once(
        "baselines", lambda: baselines(config, strands, genome.validation, tests)
    )
    rows, bars = [], {}
    for name, bases in tests.items():
        bits = text.make_evaluate(model, bases, config.window, config.streams)(params)
        first = name == next(iter(tests))
        rows.append(
            Result(
                f"next base, {name} (many-to-many)",
                "GRU",
                count(params),
                "bits per base",
                (bits,),
                seconds,
                goal="below 1.95" if first else "",
                baselines=simple["bits"][name],
                digits=4,
                headline=first,
            )
        )
        bars[name] = {"GRU": bits, **simple["bits"][name]}
    facts = {"strength of the mixture": simple["strength"]}
    return rows, facts, bars


def _train(
    config: "Config", run: Run, model: Any, strands: np.ndarray, validation: np.ndarray
) -> Any:
    batches = training.TextBatches(
        strands, config.batch, config.time, config.restart_every
    )
    evaluate = text.make_evaluate(model, validation, config.window, config.streams)
    params = model.init(jax.random.key(0))
    return fit(
        run,
        "bases",
        params,
        text.make_loss(model),
        batches.__getitem__,
        text.warm_adam(config.learning_rate, config.updates),
        updates=config.updates,
        carry=text.initial_carry(model, params, config.batch),
        max_norm=1.0,
        evaluate=lambda params: {"bits": evaluate(params)},
        evaluate_every=max(1, config.updates // 4),
        choose="bits",
    )


def baselines(
    config: "Config",
    strands: np.ndarray,
    validation: np.ndarray,
    tests: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Bits per base of an order-k Markov model and of a mixture of contexts, by test.

    Both count on both strands of the training part, as the GRU is trained; k, and the strength
    of the mixture, are the best on the validation part.
    """
    parts = [validation, *tests.values()]
    orders = range(1, config.markov_orders + 1)
    markov = {k: markov_bits(strands, parts, k) for k in orders}
    mixed = mixture_bits(strands, parts, config.mixture_order, config.strengths)
    strength = min(mixed, key=lambda strength: mixed[strength][0])
    k = min(markov, key=lambda k: markov[k][0])
    name = f"mixture of orders 0 to {config.mixture_order}"
    pairs = zip(tests, markov[k][1:], mixed[strength][1:], strict=True)
    bits = {test: {f"Markov, order {k}": a, name: b} for test, a, b in pairs}
    return {"strength": strength, "bits": bits}


def markov_bits(train: np.ndarray, tests: list[np.ndarray], order: int) -> list[float]:
    """Bits per base under `p(s | c) = (n(c s) + 1) / (n(c) + 4)`, c the `order` bases before.

    The first `order` bases of a test are not counted.
    """
    counts = np.bincount(_codes(train, order), minlength=4 ** (order + 1)) + 1.0
    table = counts.reshape(-1, 4)
    bits = -np.log2(table / table.sum(axis=1, keepdims=True)).ravel()
    return [float(bits[_codes(test, order)].mean()) for test in tests]


def mixture_bits(
    train: np.ndarray, tests: list[np.ndarray], order: int, strengths: tuple[float, ...]
) -> dict[float, list[float]]:
    """Bits per base of each test under contexts of 0 to `order` bases, for each strength.

        p_k(s | c) = (n(c s) + a p_{k-1}(s | c')) / (n(c) + a),    p_{-1} = 1/4

    n counts in `train`, c' is c without its oldest base, and a is the strength. The first
    `order` bases of a test are not counted.

    Reference: MacKay & Peto 1995, doi:10.1017/S1351324900000218.
    """
    p = {a: [np.full(len(test) - order, 0.25) for test in tests] for a in strengths}
    for k in range(order + 1):
        n_cs = np.bincount(_codes(train, k), minlength=4 ** (k + 1)).astype(np.int32)
        n_c = n_cs.reshape(-1, 4).sum(axis=1, dtype=np.int32)
        for i, test in enumerate(tests):
            code = _codes(test, k)[order - k :]
            seen, seen_context = n_cs[code], n_c[code // 4]
            for a in strengths:
                p[a][i] = (seen + a * p[a][i]) / (seen_context + a)
    return {a: [float(-np.log2(q).mean()) for q in p[a]] for a in strengths}


def _codes(bases: np.ndarray, order: int) -> np.ndarray:
    """One integer for each base and the `order` bases before it."""
    code = np.zeros(len(bases) - order, np.int64)
    for i in range(order + 1):
        code = 4 * code + bases[i : len(bases) - order + i]
    return code
