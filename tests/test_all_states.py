"""`AllStates`: the state of every step as the output, from single steps and by strategy."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import LSTM, MLSTM, AllStates, LinearCell, MatrixCell, MinGRU, testing

from .helpers import Decay, each


@each("cell", [LSTM(3, 4), MLSTM(3, 4, heads=2), jaxrnn.LRU(3, 4)])
def test_outputs_are_the_states_of_the_steps(cell):
    params = cell.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (5, 2, 3))
    lengths = jnp.array([5, 3])
    state, ys = jaxrnn.unroll(AllStates(cell), params, xs, lengths=lengths)
    want, found = cell.initial_state(params), []
    for x in xs[:3, 1]:
        want, _ = cell.step(params, want, x)
        found.append(want)
    stacked = jax.tree.map(lambda *s: jnp.stack(s), *found)
    row = jax.tree.map(lambda y: y[:3, 1], ys)
    testing.assert_close("states", str(cell), row, stacked, 1e-5)
    assert all(not np.any(y[3:, 1]) for y in jax.tree.leaves(ys)), "zero past the end"
    last = jax.tree.map(lambda y: y[-1, 0], ys)
    testing.assert_close(
        "states", "last", last, jax.tree.map(lambda s: s[0], state), 0.0
    )


def test_a_linear_cell_stays_linear_and_a_matrix_cell_runs_by_steps():
    linear, matrix = AllStates(MinGRU(3, 4)), AllStates(MLSTM(3, 4))
    assert isinstance(linear, LinearCell) and isinstance(linear, AllStates)
    assert isinstance(matrix, AllStates) and not isinstance(matrix, MatrixCell)
    assert str(linear) == f"AllStates(cell={MinGRU(3, 4)})"
    for again in (copy.deepcopy(linear), pickle.loads(pickle.dumps(linear))):
        assert again == linear and type(again) is type(linear)
    options = ["lengths", "mask", "resets", "reverse"]
    for strategy in (jaxrnn.Chunked(4), jaxrnn.Fused()):
        testing.check_strategy(strategy, AllStates(Decay(3)), options, time=6, batch=3)


def test_only_cells_have_a_state_to_show():
    with pytest.raises(TypeError, match=r"AllStates.*wrap each cell"):
        AllStates(jaxrnn.Stack((LSTM(3, 4),)))
