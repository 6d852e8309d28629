"""Beam search, against an exhaustive search and a search with lists."""

import itertools
from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import decode

from .decoding import MODEL, PARAMS, START, STATE, STOP, Markov, log_softmax, make, row


@dataclass(frozen=True)
class Observed(Markov):
    """A Markov chain that appends to `SEEN` at every step."""

    def apply(self, params, x):
        jax.debug.callback(lambda: SEEN.append(1))
        return params[x]


SEEN: list[int] = []

BEAM_MODEL, BEAM_PARAMS, BEAM_STATE = make(3, seed=4)
BEAM_START = jnp.array([0, 1, 2, 0, 1])


@cache
def next_log_probs(b: int, prefix: tuple[int, ...]) -> np.ndarray:
    read = jnp.array([int(BEAM_START[b]), *prefix])
    _, logits = jaxrnn.unroll_one(
        BEAM_MODEL, BEAM_PARAMS, read, row(BEAM_STATE, b), strategy=jaxrnn.Scan()
    )
    return log_softmax(logits[-1])


def ends(symbols: tuple[int, ...], stop: int | None) -> bool:
    return bool(symbols) and symbols[-1] == stop


def score(log_p: float, symbols: tuple[int, ...], alpha: float) -> float:
    return log_p / ((5 + len(symbols)) / 6) ** alpha


def exhaustive(b: int, steps: int, stop: int | None, alpha: float):
    """Every sequence that ends with the stop symbol or has all steps, the best first."""
    found = {}
    for symbols in itertools.product(range(3), repeat=steps):
        if stop in symbols:
            symbols = symbols[: symbols.index(stop) + 1]
        log_p = sum(next_log_probs(b, symbols[:i])[s] for i, s in enumerate(symbols))
        found[symbols] = score(log_p, symbols, alpha)
    return sorted(found.items(), key=lambda item: -item[1])


def plain_beam(b: int, width: int, steps: int, stop: int | None, alpha: float):
    """The search with lists of tuples."""
    beam = [(0.0, ())]
    for _ in range(steps):
        longer = [h for h in beam if ends(h[1], stop)]
        for log_p, symbols in (h for h in beam if not ends(h[1], stop)):
            following = enumerate(next_log_probs(b, symbols))
            longer += [(log_p + more, (*symbols, s)) for s, more in following]
        beam = sorted(longer, key=lambda h: -score(*h, alpha))[:width]
    return [(symbols, score(log_p, symbols, alpha)) for log_p, symbols in beam]


def check_beams(beams, b: int, want, steps: int, stop: int | None) -> None:
    for w, (symbols, value) in enumerate(want):
        filled = [*symbols, *[stop] * (steps - len(symbols))]
        assert beams.symbols[:, b, w].tolist() == filled
        assert int(beams.lengths[b, w]) == len(symbols) - ends(symbols, stop)
        np.testing.assert_allclose(beams.scores[b, w], value, rtol=1e-4)


@pytest.mark.parametrize("stop, alpha", [(2, 0.0), (2, 0.9), (None, 0.0)])
def test_a_wide_beam_is_an_exhaustive_search(stop, alpha):
    beams = beam_search(width=81, steps=4, stop=stop, length_penalty=alpha)
    for b in range(5):
        want = exhaustive(b, 4, stop, alpha)
        check_beams(beams, b, want, 4, stop)
        assert (beams.scores[b, len(want) :] == -jnp.inf).all()
        assert (beams.lengths[b, len(want) :] == 0).all()
        assert (beams.symbols[:, b, len(want) :] == (stop or 0)).all()


def beam_search(**options):
    return decode.beam_search(
        BEAM_MODEL, BEAM_PARAMS, BEAM_STATE, BEAM_START, **options
    )


@pytest.mark.parametrize("stop, alpha", [(2, 0.0), (2, 0.9), (None, 0.5)])
@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_a_narrow_beam_is_the_search_with_lists(width, stop, alpha):
    beams = beam_search(width=width, steps=5, stop=stop, length_penalty=alpha)
    for b in range(5):
        check_beams(beams, b, plain_beam(b, width, 5, stop, alpha), 5, stop)


@pytest.mark.parametrize("stop", [None, STOP])
def test_a_beam_of_one_is_greedy(stop):
    given = (MODEL, PARAMS, STATE, START)
    greedy = decode.greedy(*given, steps=12, stop=stop)
    beams = decode.beam_search(*given, width=1, steps=12, stop=stop, length_penalty=0.6)
    assert (beams.symbols[:, :, 0] == greedy.symbols).all()
    assert (beams.lengths[:, 0] == greedy.lengths).all()


def test_the_beam_search_ends_when_all_sequences_have():
    """Symbol 0 is followed by 1, and 1 by the stop symbol 2, with certainty."""
    table = jnp.log(jnp.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    SEEN.clear()
    start = jnp.array([0])
    beams = decode.beam_search(
        Observed(3), table, None, start, width=3, steps=50, stop=2
    )
    jax.effects_barrier()
    assert beams.symbols[:3, 0, 0].tolist() == [1, 2, 2]
    assert beams.scores[0].tolist() == [0.0, -np.inf, -np.inf]
    assert len(SEEN) == 2  # steps
