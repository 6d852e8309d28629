"""Clear errors for bad arguments of decoders over a layer: what was given, and what to do."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import Dense, Embedding, Stack, decode


KEY = jax.random.key(0)
V, T = ValueError, TypeError


def made(*layers):
    model = Stack(layers)
    return model, model.init(KEY)


MODEL, PARAMS = made(Embedding(5, 4), jaxrnn.GRU(4, 6), Dense(6, 5))
START = jnp.zeros(2, int)
BOTH_WAYS = made(Embedding(5, 4), jaxrnn.Bidirectional(jaxrnn.GRU(4, 3)), Dense(6, 5))
MANY = made(Embedding(300, 4), Dense(4, 300))
EACH = {
    "greedy": partial(decode.greedy, steps=2),
    "sample": lambda *given, steps=2, **options: decode.sample(
        *given, KEY, steps=steps, **options
    ),
    "beam": lambda *given, steps=2, **options: decode.beam_search(
        *given, **{"steps": steps, "width": 2, "stop": None} | options
    ),
    "scheduled": lambda *given: decode.scheduled_sampling(
        *given[:3], given[3][None], KEY, probability=0.5
    ),
}

# each takes a function of EACH
OF_ALL = {
    "a function": (
        lambda f: f(jnp.tanh, PARAMS, None, START),
        T,
        "give a jaxrnn layer",
    ),
    "two directions": (lambda f: f(*BOTH_WAYS, None, START), T, "has no `step`"),
    "vectors": (
        lambda f: f(*made(jaxrnn.GRU(4, 6)), None, START),
        V,
        "jaxrnn.Embedding",
    ),
    "no params": (lambda f: f(MODEL, None, None, START), V, r"layer.init\(key\)"),
    "another state": (
        lambda f: f(
            MODEL, PARAMS, jaxrnn.unroll(MODEL, PARAMS, START[None, :1])[0], START
        ),
        V,
        r"\(1, 6\), where \(2, 6\)",
    ),
    "floats": (lambda f: f(MODEL, PARAMS, None, jnp.zeros(2)), T, "give symbols"),
    "booleans": (lambda f: f(MODEL, PARAMS, None, START == 0), T, "give symbols"),
    "a scalar": (
        lambda f: f(MODEL, PARAMS, None, jnp.asarray(0)),
        V,
        "without an empty",
    ),
    "no sequence": (lambda f: f(MODEL, PARAMS, None, START[:0]), V, "without an empty"),
    "narrow": (lambda f: f(*MANY, None, START.astype(jnp.uint8)), V, "all 300 symbols"),
}


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("case", OF_ALL)
def test_all_refuse(case, name):
    call, error, words = OF_ALL[case]
    with pytest.raises(error, match=words):
        call(EACH[name])


def wrong(name, **options):
    return lambda: EACH[name](MODEL, PARAMS, None, START, **options)


def scheduled(probability=0.5, key=KEY, **options):
    xs = jnp.zeros((3, 2), int)
    return lambda: decode.scheduled_sampling(
        MODEL, PARAMS, None, xs, key, probability=probability, **options
    )


ONE = {
    "a list": (lambda: decode.greedy(MODEL, PARAMS, None, [0, 1], steps=2), T, "array"),
    "an int": (lambda: decode.greedy(MODEL, PARAMS, None, 0, steps=2), T, "array"),
    "no steps": (wrong("greedy", steps=0), V, "at least 1"),
    "half a step": (wrong("sample", steps=1.5), T, "not a float"),
    "True steps": (wrong("beam", steps=True), T, "give an integer"),
    "stop above": (wrong("greedy", stop=5), V, "from 0 to 4"),
    "stop below": (wrong("sample", stop=-1), V, "from 0 to 4"),
    "stop array": (wrong("beam", stop=jnp.ones(2)), T, "give an integer"),
    "traced stop": (
        lambda: jax.jit(lambda stop: wrong("greedy", stop=stop)())(3),
        T,
        "static argument",
    ),
    "cold": (wrong("sample", temperature=0), V, "use greedy"),
    "below zero": (wrong("sample", temperature=-0.5), V, "above 0"),
    "not a number": (wrong("sample", temperature=np.nan), V, "above 0"),
    "temperatures": (wrong("sample", temperature=jnp.ones(2)), T, "above 0"),
    "a word": (wrong("sample", temperature="hot"), T, "above 0"),
    "complex": (wrong("sample", temperature=jnp.asarray(1j)), T, "above 0"),
    "top 0": (wrong("sample", top_k=0), V, "at least 1"),
    "top 6": (wrong("sample", top_k=6), V, "only 5 symbols"),
    "empty nucleus": (wrong("sample", top_p=0.0), V, "at most 1"),
    "percent": (wrong("sample", top_p=90), V, "at most 1"),
    "no key": (
        lambda: decode.sample(MODEL, PARAMS, None, START, 0, steps=2),
        T,
        r"jax.random.key\(0\)",
    ),
    "no width": (wrong("beam", width=0), V, "at least 1"),
    "penalty": (wrong("beam", length_penalty=-1.0), V, "at least 0"),
    "probability": (scheduled(1.5), V, "from 0 to 1"),
    "True": (scheduled(True), T, "from 0 to 1"),
    "a key": (scheduled(key=None), T, "key"),
    "long": (scheduled(lengths=jnp.array([4, 1])), V, "from 0 to 3"),
    "one axis": (
        lambda: decode.scheduled_sampling(
            MODEL, PARAMS, None, START, KEY, probability=0.5
        ),
        V,
        r"\(T, B\)",
    ),
}


@pytest.mark.parametrize("case", ONE)
def test_one_refuses(case):
    call, error, words = ONE[case]
    with pytest.raises(error, match=words):
        call()


class Odd(jaxrnn.Stepwise):
    """A layer with outputs of a given shape and dtype."""

    def __init__(self, output):
        self.output = output

    def init(self, key):
        return jnp.zeros(2)

    def apply(self, params, x):
        return self.output


@pytest.mark.parametrize(
    "output, error",
    [
        (np.zeros((2, 3), np.float32), V),
        (np.float32(0), V),
        ((np.zeros(3, np.float32),), V),
        (np.zeros(3, np.int32), T),
        (np.zeros(3, np.complex64), T),
    ],
    ids=str,
)
def test_outputs_that_are_not_logits_are_refused(output, error):
    with pytest.raises(error, match="logits"):
        decode.greedy(Odd(output), jnp.zeros(2), None, START, steps=2)
