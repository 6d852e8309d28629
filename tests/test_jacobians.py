"""The parts of a Jacobian that Newton's method uses, and the recurrences that it solves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn import GRU, LSTM, ParaLSTM, ProjectedLSTM
from jaxrnn._layer import over_time_and_batch
from jaxrnn.strategies import BlockJacobian, DiagonalJacobian, FullJacobian
from jaxrnn.strategies._masked import Masked, MaskedInput
from jaxrnn.strategies.newton import _recurrences
from jaxrnn.strategies.newton import _strategy as _newton
from jaxrnn.strategies.newton._elementwise import is_elementwise
from jaxrnn.testing._case import make_case

from .helpers import GENERAL, each


def one_step(cell):
    """A cell's recurrence over vectors, with random params, states and inputs."""
    case = make_case(cell, 1, 2, 0)
    zs = over_time_and_batch(cell.project, case.params, case.xs)
    flat, step = _newton._prepared(cell, case.params, case.state, zs)
    return step, (case.params, flat.vector(case.state)[None], zs)


def shapes_of_step(cell):
    """The shapes of the arguments of `recur`, of one example."""
    params = jax.eval_shape(cell.init, jax.random.key(0))
    z = jax.eval_shape(cell.project, params, jnp.zeros(cell.input_size))
    return params, jax.eval_shape(cell.initial_state, params), z


def test_element_wise_cells_are_found_out():
    """The analysis of the equations agrees with the Jacobian."""
    cells = [c for c in GENERAL if not isinstance(c, ProjectedLSTM)]
    rng = np.random.default_rng(0)
    random = lambda s: np.asarray(rng.uniform(0.1, 1.0, s.shape), s.dtype)
    problems = [jax.tree.map(random, shapes_of_step(cell)) for cell in cells]

    @jax.jit  # all at once, which compiles fastest
    def jacobians(problems):
        return [
            jax.jacfwd(cell.recur, argnums=1)(*args)
            for cell, args in zip(cells, problems, strict=True)
        ]

    for cell, found in zip(cells, jacobians(problems), strict=True):
        blocks = [np.asarray(block) for block in jax.tree.leaves(found)]
        across = [np.abs(block - np.diag(np.diag(block))).max() for block in blocks]
        assert is_elementwise(cell, *shapes_of_step(cell)) == (max(across) == 0), cell


def test_lengths_and_resets_keep_a_cell_element_wise():
    cell = Masked(ParaLSTM(3, 5))
    params, state, z = shapes_of_step(cell.cell)
    mark = jax.ShapeDtypeStruct((), bool)
    assert is_elementwise(cell, params, state, MaskedInput(z, mark, mark))


@each("cell", [LSTM(3, 4), ParaLSTM(3, 4), GRU(3, 4)])
def test_parts_of_the_jacobian_are_parts_of_it(cell):
    step, args = one_step(cell)
    after, full = FullJacobian().linearise(step, *args)
    same, diagonal = DiagonalJacobian().linearise(step, *args)
    np.testing.assert_allclose(same, after, rtol=1e-6)
    np.testing.assert_allclose(
        diagonal, np.diagonal(full, axis1=-2, axis2=-1), rtol=1e-5, atol=1e-7
    )
    _, blocks = BlockJacobian().linearise(step, *args)
    parts = np.asarray(full)[0].reshape(2, step.leaves, 4, step.leaves, 4)
    np.testing.assert_allclose(
        blocks[0], np.einsum("biuju->buij", parts), rtol=1e-5, atol=1e-7
    )


def test_parallel_scans_of_matrices_equal_the_loop(x64):
    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.normal(size=(13, 2, 3, *n))) for n in ((3,), ()))
    both = (_recurrences.parallel_matrix, _recurrences.sequential_matrix)
    got, want = jax.jit(lambda a, b: [run(a, b) for run in both])(a, b)
    np.testing.assert_allclose(got, want, rtol=1e-9)


def kalman_gains(a, damping):
    """Kalman gains one after the other, as in a textbook: `sigma^2 (P + sigma^2 I)^-1`."""
    eye, c, gains = np.eye(a.shape[-1]), np.zeros(a.shape[1:]), []
    for a_t in a:
        predicted = a_t @ c @ a_t.T + eye
        left = np.linalg.inv(predicted + eye / damping) / damping
        c = left @ predicted
        gains.append(left)
    return np.stack(gains)


@pytest.mark.parametrize("damping", [1e-3, 0.1, 2.0])
def test_damping_is_a_kalman_filter(damping, x64):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(6, 3, 3))
    want = kalman_gains(a, damping)
    np.testing.assert_allclose(
        _recurrences.matrix_gains(jnp.asarray(a), damping), want, rtol=1e-9, atol=1e-12
    )
    diagonal = np.stack([np.diag(row) for row in a[:, 0]])
    want = np.diagonal(kalman_gains(diagonal, damping), axis1=1, axis2=2)
    got = _recurrences.diagonal_gains(jnp.asarray(a[:, 0]), damping)
    np.testing.assert_allclose(got, want, rtol=1e-9)
