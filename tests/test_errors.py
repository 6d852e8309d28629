"""Clear errors for bad arguments: what was given, and what to do.

`table` is long because it is a table: one entry for each bad input.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxrnn
from jaxrnn import GRU, LSTM, Bidirectional, Elman, Stack, training, unroll


cell = LSTM(3, 5)
params = cell.init(jax.random.key(0))
xs = jnp.zeros((7, 2, 3))
state, _ = unroll(cell, params, xs)
gru = GRU(3, 5).init(jax.random.key(0))


def call(*, layer=cell, params=params, xs=xs, **options) -> Callable:
    """A call of `unroll` with one wrong argument."""
    return lambda: unroll(layer, params, xs, **options)


@dataclass(frozen=True)
class Listed(jaxrnn.Cell):
    """A cell that cannot be hashed."""

    sizes: list = field(default_factory=lambda: [3])

    def init(self, key):
        return jnp.zeros(3)

    def initial_state(self, params):
        return jnp.zeros(3)

    def recur(self, params, state, z):
        return state


@dataclass(frozen=True)
class Growing(Listed):
    """A cell whose state does not keep its shape."""

    sizes: tuple = (3,)

    def recur(self, params, state, z):
        return jnp.concatenate([state, z])


def table() -> dict[str, tuple[Callable, type[Exception], str]]:
    """Each bad input, the error, and what its message must say."""
    v, t = ValueError, TypeError
    wide = jax.tree.map(lambda s: jnp.zeros((9, *s.shape[1:])), state)
    low = jaxrnn.cast(state, jnp.bfloat16)
    whole = jax.tree.map(lambda p: jnp.ones(p.shape, jnp.int32), params)
    return {
        # the layer
        "a class": (call(layer=LSTM), t, r"LSTM\(8, 64\)"),
        "no layer": (call(layer=jnp.tanh), t, "give a jaxrnn layer"),
        "no hash": (call(layer=Listed()), t, "frozen=True"),
        "state grows": (
            call(layer=Growing(), params=jnp.zeros(3)),
            t,
            r"\(3,\) float32 into one of \(6,\)",
        ),
        # params
        "no params": (call(params=None), v, r"layer.init\(key\)"),
        "of a GRU": (call(params=gru), v, "LSTMParams"),
        "of wider": (
            call(params=LSTM(3, 6).init(jax.random.key(0))),
            v,
            r"params.w has the shape \(3, 24\), where \(3, 20\)",
        ),
        "nested": (call(params=(params,)), v, "structure"),
        "lists": (call(params=params._replace(b=[0.0] * 20)), t, "not an array"),
        "integers": (call(params=whole), t, "params.w is int32.*cast"),
        # xs
        "a list": (call(xs=[[1.0]]), t, "xs is or holds float 1.0, not an array"),
        "a string": (call(xs="text"), t, "str 'text', not an array"),
        "None": (call(xs=None), t, "xs holds no array"),
        "objects": (call(xs=np.array([[None]])), t, "not of numbers"),
        "rank 1": (call(xs=jnp.zeros(7)), v, r"\(7,\).*time-major"),
        "rank 2": (call(xs=jnp.zeros((7, 3))), v, r"input of \(\).*takes 3 features"),
        "rank 4": (call(xs=jnp.zeros((7, 2, 3, 1))), v, r"\(3, 1\).*takes 3 features"),
        "features": (call(xs=jnp.zeros((7, 2, 4))), v, r"\(4,\).*takes 3 features"),
        "T = 0": (call(xs=jnp.zeros((0, 2, 3))), v, "no time steps"),
        "B = 0": (call(xs=jnp.zeros((7, 0, 3))), v, "no sequences"),
        "half": (
            call(xs=xs.astype(jnp.bfloat16), params=params),
            t,
            "bfloat16.*xs.astype",
        ),
        "two lengths": (
            call(xs=(xs, xs[:3])),
            v,
            r"differ in their first two axes: \[\(3, 2\), \(7, 2\)\]",
        ),
        # state
        "state rows": (call(state=wide), v, r"\(9, 5\), where \(2, 5\).*B=2"),
        "one row": (
            call(state=cell.initial_state(params)),
            v,
            r"\(5,\), where \(2, 5\)",
        ),
        "of Elman": (call(state=jnp.zeros((2, 5))), v, "structure.*LSTMState"),
        "state dtype": (call(state=low), t, "bfloat16, where float32"),
        "a float": (call(state=0.0), t, "float 0.0, not an array"),
        # lengths
        "too long": (call(lengths=jnp.array([8, 1])), v, r"\[8\].*from 0 to 7"),
        "negative": (call(lengths=jnp.array([-1, 1])), v, r"\[-1\].*from 0 to 7"),
        "float": (call(lengths=jnp.array([7.0, 1.0])), t, "float32.*integers"),
        "bools": (call(lengths=jnp.array([True, True])), t, "bool.*integers"),
        "three": (call(lengths=jnp.array([1, 2, 3])), v, r"\(3,\).*B=2"),
        "scalar": (call(lengths=jnp.int32(3)), v, r"\(\).*B=2"),
        "a list of": (call(lengths=[7, 1]), t, "list.*not an array"),
        # resets
        "resets by row": (call(resets=jnp.zeros(2, bool)), v, r"\(T, B\) = \(7, 2\)"),
        "batch-major": (call(resets=jnp.zeros((2, 7), bool)), v, r"\(2, 7\)"),
        "0 and 1": (call(resets=jnp.zeros((7, 2))), t, "astype"),
        "no resets": (call(resets="never"), t, "not an array"),
        # mask
        "mask by row": (call(mask=jnp.zeros(2, bool)), v, r"\(T, B\) = \(7, 2\)"),
        "mask of 0 and 1": (call(mask=jnp.ones((7, 2))), t, "mask is float32.*astype"),
        "no mask": (call(mask="padding"), t, "mask is or holds str"),
        # options
        "misspelt": (
            call(length=jnp.array([1, 2])),
            t,
            "unexpected keyword argument 'length'",
        ),
        "reverse": (call(reverse="yes"), t, "True or False"),
        "seed": (call(key=0), t, r"int 0.*jax.random.key\(0\)"),
        "keys": (call(key=jax.random.split(jax.random.key(0))), v, r"shape \(2,\)"),
        "not a key": (call(key=jnp.zeros(2)), t, "float32.*jax.random.key"),
        "strategy name": (call(strategy="scan"), t, r"'scan'.*jaxrnn.Scan\(\)"),
        "strategy class": (call(strategy=jaxrnn.Scan), t, r"jaxrnn.Scan\(\)"),
        "explain": (lambda: jaxrnn.explain(cell, (7, 2, 4)), v, "takes 3 features"),
        # construction
        "size 0": (lambda: LSTM(0, 5), v, r"input_size=0.*at least 1"),
        "size 2.5": (lambda: GRU(3, 2.5), t, r"hidden_size=2.5.*integer"),
        "size True": (lambda: GRU(3, True), t, "not a boolean"),
        "activation": (lambda: Elman(3, 5, activation="tanh"), t, "jnp.tanh"),
        "initializer": (lambda: LSTM(3, 5, w_init="glorot"), t, "Glorot"),
        "a class of one": (
            lambda: LSTM(3, 5, u_init=jaxrnn.initializers.Glorot),
            t,
            "Glorot",
        ),
        "IndRNN's u": (
            lambda: jaxrnn.IndRNN(3, 5, u_init=jaxrnn.initializers.Orthogonal()),
            t,
            "u is a vector",
        ),
        "ParaGRU's u": (
            lambda: jaxrnn.ParaGRU(3, 5, u_init=jaxrnn.initializers.Orthogonal()),
            t,
            "u is a vector for each gate.*SmallNormal",
        ),
        "heads": (lambda: jaxrnn.SLSTM(3, 5, heads=2), v, "heads that divide"),
        "no layers": (lambda: jaxrnn.CfC(3, 5, backbone_layers=0), v, "at least 1"),
        "tau": (lambda: jaxrnn.CTRNN(3, 5, tau_init=2.0), t, r"Uniform\(1.0, 10.0\)"),
        "bias": (lambda: LSTM(3, 5, b_init=1.0), t, "ForgetBias"),
        "chrono": (lambda: jaxrnn.initializers.Chrono(2), v, "above 2"),
        "empty stack": (lambda: Stack(()), v, "at least one layer"),
        "a layer alone": (lambda: Stack(cell), t, "give a tuple"),
        "stack of None": (lambda: Stack((cell, None)), t, "give a tuple of layers"),
        "sizes that clash": (
            lambda: unroll(
                s := Stack((cell, GRU(4, 5))), s.init(jax.random.key(0)), xs
            ),
            v,
            r"in layer 1 of the stack, GRU\(input_size=4",
        ),
        "residual sizes": (
            lambda: unroll(jaxrnn.Residual(cell), params, xs),
            v,
            "as many features as its input",
        ),
        "of two ways": (lambda: Bidirectional(cell, "back"), t, "give a layer"),
        "merge": (lambda: Bidirectional(cell, merge="sum"), t, "jnp.add"),
        "rate 1": (lambda: jaxrnn.Dropout(1.0), v, "below 1"),
        "rate text": (lambda: jaxrnn.VariationalDropout("half"), t, "number"),
        "zoneout": (lambda: jaxrnn.Zoneout(Stack((cell,)), 0.1), t, "one cell"),
        "zoneout rates": (
            lambda: unroll(jaxrnn.Zoneout(cell, (0.1, 0.2)), params, xs),
            v,
            "one for each part",
        ),
        "learned": (lambda: jaxrnn.LearnedState(Stack((cell,))), t, "wrap each"),
        "drop rate": (
            lambda: jaxrnn.drop_connect(params, 1.5, jax.random.key(0)),
            v,
            "1",
        ),
        "drop none": (
            lambda: jaxrnn.drop_connect({"a": xs}, 0.5, jax.random.key(0)),
            v,
            "is False for all of the parameters",
        ),
        "symbols": (
            lambda: unroll(
                e := jaxrnn.Embedding(7, 3),
                e.init(jax.random.key(0)),
                jnp.zeros((3, 2)),
            ),
            t,
            "looks up integers",
        ),
        "every 0": (lambda: jaxrnn.Checkpointed(0), v, "at least 1"),
        "every 1.5": (lambda: jaxrnn.Checkpointed(1.5), v, "integer"),
        "block True": (lambda: jaxrnn.Hoisted(True), v, "integer"),
        "inner": (lambda: jaxrnn.Checkpointed(4, "scan"), t, r"jaxrnn.Scan\(\)"),
        "no candidates": (lambda: jaxrnn.Auto(()), v, "at least one strategy"),
        "candidates": (lambda: jaxrnn.Auto(jaxrnn.Scan()), t, "tuple of strategies"),
        "cast": (lambda: jaxrnn.cast(params, jnp.int32), t, "floating-point"),
        # training
        "short text": (
            lambda: training.TextBatches(np.arange(5), batch=2, steps=4),
            v,
            "too few",
        ),
        "no batch": (
            lambda: training.TextBatches(np.arange(5), batch=0, steps=4),
            v,
            "at least 1",
        ),
        "norm": (
            lambda: training.make_train_step(len, optax.sgd(1.0), max_norm=0.0),
            v,
            "above 0",
        ),
    }


@pytest.mark.parametrize("name", table())
def test_bad_input_is_refused_in_words(name):
    run, error, message = table()[name]
    with pytest.raises(error, match="(?s)" + message) as caught:
        run()
    frames = [str(entry.path) for entry in caught.traceback]
    assert not any("/jax/" in frame for frame in frames), "raised inside JAX"


def test_the_table_is_long_enough():
    assert len(table()) >= 40


def test_under_jit_shapes_are_refused_and_lengths_are_clipped():
    with pytest.raises(ValueError, match="takes 3 features"):
        jax.jit(lambda xs: unroll(cell, params, xs))(jnp.zeros((7, 2, 4)))
    clipped = jax.jit(lambda n: unroll(cell, params, xs, lengths=n))
    for asked, meant in (([9, -3], [7, 0]), ([7, 7], [7, 7])):
        _, got = clipped(jnp.array(asked))
        _, want = unroll(cell, params, xs, lengths=jnp.array(meant))
        np.testing.assert_array_equal(got, want)


def test_a_mistake_in_a_cell_of_ones_own_is_shown_as_the_cause():
    @dataclass(frozen=True)
    class Mistaken(Growing):
        def recur(self, params, state, z):
            return state.reshape(2, 2)

    with pytest.raises(ValueError, match=r"Mistaken\(\) cannot.*reshape") as caught:
        unroll(Mistaken(), jnp.zeros(3), xs)
    cause = traceback.walk_tb(caught.value.__cause__.__traceback__)
    assert "recur" in {frame.f_code.co_name for frame, _ in cause}


def test_bidirectional_says_why_it_does_not_stream():
    layer = Stack((Bidirectional(cell), GRU(10, 2)))
    inner = layer.init(jax.random.key(0))
    with pytest.raises(NotImplementedError, match="starts at the end") as caught:
        layer.step(inner, layer.initial_state(inner), xs[0, 0])
    assert "in layer 0" in str(caught.value.__notes__)


def test_an_embedding_shows_symbols_that_it_does_not_have():
    layer = jaxrnn.Embedding(7, 3)
    symbols = jnp.array([[0, 6], [7, -1]])
    _, ys = unroll(layer, layer.init(jax.random.key(0)), symbols)
    assert not jnp.isnan(ys[0]).any()
    assert jnp.isnan(ys[1]).all()


def test_all_refusals_are_shown_when_no_strategy_accepts():
    class Picky(jaxrnn.Strategy):
        """Accepts nothing."""

        def check(self, cell, params, state, xs):
            raise NotImplementedError(f"Picky does not run {cell}.")

        def run(self, cell, params, state, zs):
            raise AssertionError

    with pytest.raises(ExceptionGroup, match="no strategy accepts LSTM") as caught:
        unroll(cell, params, xs, strategy=jaxrnn.Auto((Picky(), Picky())))
    assert len(caught.value.exceptions) == 2
    with pytest.raises(NotImplementedError, match="Picky does not run LSTM"):
        unroll(cell, params, xs, strategy=Picky())
