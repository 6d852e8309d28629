"""Law W: NaN, dtypes, NumPy, copies, and JAX's modes, over the tables of layers."""

import jax
import pytest

import jaxrnn
from jaxrnn import Associative, Auto, Checkpointed, Chunked, Hoisted, Scan, testing

from .helpers import CELLS, COMBINATORS, KINDS, MATRIX, Decay, each, example


ALL = [*CELLS, *COMBINATORS]
SOME = [
    jaxrnn.LSTM(3, 5),
    jaxrnn.Elman(3, 5, activation=jax.nn.relu),
    jaxrnn.CfC(3, 4, 5),
    jaxrnn.Stack((jaxrnn.MGU(3, 4), jaxrnn.Dense(4, 2))),
    jaxrnn.Embedding(256, 3),
    jaxrnn.LRU(3, 4),
    jaxrnn.MLSTM(3, 4, heads=2),
]
"""One of each kind; the full table is slow."""


def symbols(layer):
    """An example of one step; 256 symbols fill a byte."""
    if layer == jaxrnn.Embedding(256, 3):
        return jax.numpy.int32(255)
    return example(layer)


@each("layer", ALL, [*KINDS, *SOME, MATRIX[3]])
def test_nan_passes_no_cut(layer):
    """Under every layer; the program is that of `unroll` with lengths and resets."""
    testing.check_nan(layer, x=example(layer))


STRATEGIES = [
    *((strategy, jaxrnn.GRU(3, 5)) for strategy in (Hoisted(), Checkpointed(4))),
    *((strategy, Decay(3)) for strategy in (Chunked(4), Associative(), Hoisted())),
    *((Chunked(4), cell) for cell in MATRIX[:5]),
    (Auto(), jaxrnn.LSTM(3, 5)),
    (Auto(), jaxrnn.MinGRU(3, 4)),
    (jaxrnn.Newton(), jaxrnn.MGU(3, 4)),
    (jaxrnn.Wavefront(), jaxrnn.Stack((jaxrnn.GRU(3, 3),) * 2)),
]


@each("strategy, layer", STRATEGIES, [*STRATEGIES[:4], *STRATEGIES[8:]])
def test_nan_passes_no_cut_under(strategy, layer):
    testing.check_nan(layer, strategy=strategy)


@each("layer", ALL)
def test_copies_are_equal_and_gradients_descend(layer):
    testing.check_copies(layer)
    testing.check_descent(layer)


@each("strategy", [Scan(), Hoisted(4), Checkpointed(), Chunked(4), Auto()])
def test_strategies_are_copied(strategy):
    testing.check_copies(strategy)


LAWS = [
    testing.check_inputs,
    testing.check_numpy,
    testing.check_debug_nans,
    testing.check_donation,
    testing.check_disable_jit,
    testing.check_export,
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@each("layer", SOME)
def test_the_world(layer, law):
    law(layer, x=symbols(layer))


REST = [layer for layer in ALL if layer not in SOME]


@pytest.mark.full
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@each("layer", REST)
def test_the_whole_world(layer, law):
    law(layer, x=example(layer))
