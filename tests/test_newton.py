"""Newton's method over the sequence: its answer equals that of `Scan()`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import (
    GRU,
    LSTM,
    IndRNN,
    Newton,
    ParaGRU,
    ParaLSTM,
    ProjectedLSTM,
    Scan,
    testing,
    unroll,
)
from jaxrnn._layer import over_time_and_batch
from jaxrnn.strategies import BlockJacobian, DiagonalJacobian, FullJacobian

from .helpers import each


PAIRS = [
    (ParaGRU(3, 5), Newton()),
    (ParaLSTM(3, 5), Newton()),
    (GRU(3, 5), Newton()),
    (LSTM(3, 4), Newton(jacobian=BlockJacobian())),
    (ProjectedLSTM(3, 4, 2), Newton(jacobian=DiagonalJacobian())),
    (ParaGRU(3, 5), Newton(damping=0.1)),
    (GRU(3, 5), Newton(max_iter=2)),  # falls back
]


@each("pair", PAIRS)
def test_law_s(pair):
    cell, strategy = pair
    testing.check_strategy(strategy, cell, time=13, batch=3)


def test_bfloat16_is_solved_in_float32():
    testing.check_dtypes(ParaGRU(3, 5), strategy=Newton())


def problem(cell, scale, time, batch=1):
    """Random inputs, and recurrent weights drawn from N(0, scale^2)."""
    k_init, k_u, k_xs = jax.random.split(jax.random.key(0), 3)
    params = cell.init(k_init)
    u = scale * jax.random.normal(k_u, params.u.shape)
    xs = jax.random.normal(k_xs, (time, batch, cell.input_size))
    return params._replace(u=u), xs


@pytest.mark.parametrize("scale, most", [(0.5, 5), (1.0, 8)])
def test_iterations_of_contractive_cells_do_not_depend_on_time(scale, most):
    """Element-wise GRU, N(0, 1) inputs: 4 and 6 iterations when written, T from 512 to 8192."""
    counts = []
    for time in (512, 8192):
        params, xs = problem(ParaGRU(8, 8), scale, time)
        solution = Newton().solve(ParaGRU(8, 8), params, xs)
        assert not solution.fell_back and solution.residual[0] <= 1e-6
        counts.append(int(solution.iterations))
    assert max(counts) <= most and counts[0] == counts[1]


@pytest.mark.parametrize(
    "jacobian, most",
    [(FullJacobian(), [4, 5, 7]), (DiagonalJacobian(), [9, 13, 29])],
    ids=str,
)
def test_iterations_of_dense_cells_grow_towards_the_edge_of_chaos(jacobian, most):
    """A GRU with recurrent weights of scale 0.5, 1 and 2 times that of its width."""
    counts = []
    for scale in (0.5, 1.0, 2.0):
        params, xs = problem(GRU(8, 8), scale / 8**0.5, 512)
        solution = Newton(jacobian=jacobian).solve(GRU(8, 8), params, xs)
        assert not solution.fell_back
        counts.append(int(solution.iterations))
    assert counts == sorted(set(counts))
    assert all(count <= limit for count, limit in zip(counts, most, strict=True))


def test_a_long_sequence_equals_the_scan():
    """T = 8192 with a diagonal Jacobian, in float32, values and gradients."""
    cell = ParaGRU(8, 16)
    params, xs = problem(cell, 0.5, 8192, batch=2)

    @jax.jit
    def both(strategy, params):
        def loss(params):
            _, ys = unroll(cell, params, xs, strategy=strategy)
            return jnp.mean(ys**2), ys

        return jax.grad(loss, has_aux=True)(params)

    (got, ys), (want, true) = (both(s, params) for s in (Newton(), Scan()))
    np.testing.assert_allclose(ys, true, rtol=0, atol=1e-5)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    assert Newton().solve(cell, params, xs).iterations <= 5


def lyapunov_exponent(cell, params, states, zs):
    """The mean growth of a small difference, in log units per step; for element-wise cells."""
    slope = jax.vmap(jax.grad(lambda s, z: jnp.sum(cell.recur(params, s, z))))
    return float(jnp.mean(jnp.log(jnp.abs(slope(states[:-1, 0], zs[1:, 0])))))


def expansive(time):
    """h' = sin(4 h + z): a small difference doubles in a step."""
    cell = IndRNN(8, 8, jnp.sin)
    params, xs = problem(cell, 1.0, time)
    return cell, params._replace(u=jnp.full(8, 4.0)), xs


@each("strategy", [Newton(max_iter=10), Newton(max_iter=10, damping=0.1)])
def test_an_expansive_cell_falls_back_to_the_exact_answer(strategy):
    cell, params, xs = expansive(64)
    solution = strategy.solve(cell, params, xs)
    zs = over_time_and_batch(cell.project, params, xs)
    assert lyapunov_exponent(cell, params, solution.states, zs) > 0.5
    assert solution.fell_back and solution.iterations == 10
    assert solution.residual[0] > 1e-3
    state, ys = unroll(cell, params, xs, strategy=Scan())
    np.testing.assert_array_equal(solution.ys, ys)
    np.testing.assert_array_equal(solution.state, state)
    _, by_unroll = unroll(cell, params, xs, strategy=strategy)
    np.testing.assert_array_equal(by_unroll, ys)


def test_what_nearly_solves_every_step_may_still_be_wrong_and_is_found_out():
    """A guess that is off by 1e-3 at one step, and follows the recurrence from there."""
    cell, params, xs = expansive(64)
    _, ys = unroll(cell, params, xs)
    _, turned = unroll(cell, params, xs[30:], ys[29] + 1e-3)
    guess = jnp.concatenate([ys[:30], turned])
    assert jnp.abs(guess - ys).max() > 1
    solution = Newton(tol=0.01).solve(cell, params, xs, guess=guess)
    assert solution.iterations == 0 and solution.residual[0] <= 0.01
    assert solution.fell_back
    np.testing.assert_array_equal(solution.ys, ys)


def test_one_row_that_does_not_converge_is_never_returned():
    """Sequences converge together: if one does not, all get the exact answer."""
    cell, params, xs = expansive(64)
    params = params._replace(u=jnp.array([4.0] + 7 * [0.1]))
    calm = xs.at[..., 0].set(0.0)
    params = params._replace(w=jnp.eye(8), b=jnp.zeros(8))  # unit 0 stays at 0
    strategy = Newton(max_iter=10)
    assert not strategy.solve(cell, params, calm).fell_back
    rows = jnp.concatenate([xs, calm], axis=1)
    both = strategy.solve(cell, params, rows)
    assert both.fell_back and both.residual[0] > 1e-3 > both.residual[1]
    np.testing.assert_array_equal(both.ys, unroll(cell, params, rows)[1])


def test_nan_is_not_replaced_and_ends_the_iteration():
    cell = ParaGRU(3, 4)
    params, xs = problem(cell, 0.5, 20, batch=2)
    xs = xs.at[7, 1, 0].set(jnp.nan)
    solution = Newton().solve(cell, params, xs)
    assert solution.fell_back and solution.iterations == 0
    np.testing.assert_array_equal(solution.ys, unroll(cell, params, xs)[1])
    assert not jnp.isnan(solution.ys[:, 0]).any()


def test_a_warm_start_saves_iterations_and_changes_nothing_else():
    cell = ParaGRU(8, 8)
    params, xs = problem(cell, 1.0, 256)
    cold = Newton().solve(cell, params, xs)
    assert Newton().solve(cell, params, xs, guess=cold.states).iterations == 0
    moved = jax.tree.map(lambda p: 1.001 * p, params)  # after one training step
    fresh = Newton().solve(cell, moved, xs)
    warm = Newton().solve(cell, moved, xs, guess=cold.states)
    assert 0 < warm.iterations < fresh.iterations
    np.testing.assert_allclose(warm.ys, fresh.ys, rtol=0, atol=1e-6)


def test_solve_is_unroll_with_a_report_and_differentiable(x64):
    cell = ParaLSTM(3, 4)
    params, xs = problem(cell, 0.5, 12, batch=2)
    state = cell.initial_state(params)
    state = jax.tree.map(lambda s: jnp.stack([s + 0.3, s - 0.2]), state)

    def by_solve(params, xs, state):
        solution = Newton().solve(cell, params, xs, state)
        return solution.state, solution.ys

    def by_scan(params, xs, state):
        return unroll(cell, params, xs, state, strategy=Scan())

    def gradients(run):
        def loss(*args):
            return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(run(*args)))

        return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(params, xs, state)

    testing.assert_close(
        "Law S", "solve", gradients(by_solve), gradients(by_scan), 1e-9
    )


def squares(cell, xs, strategy, params):
    return jnp.sum(unroll(cell, params, xs, strategy=strategy)[1] ** 2)


def test_vmap_checkpoints_and_gradients_of_gradients(x64):
    cell = ParaGRU(3, 4)
    params, xs = problem(cell, 0.5, 6, batch=2)
    many = jax.tree.map(lambda p: jnp.stack([p, 0.5 * p]), params)
    value = partial(squares, cell, xs)

    def answers(strategy, nested):
        def twice(params):
            grads = jax.grad(partial(value, strategy))(params)
            return sum(jnp.sum(jnp.sin(g)) for g in jax.tree.leaves(grads))

        one = jax.grad(lambda many: jnp.sum(jax.vmap(partial(value, strategy))(many)))
        return jax.jit(
            lambda params, many: (
                jax.grad(twice)(params),
                one(many),
                jax.grad(partial(value, nested))(params),
            )
        )(params, many)

    got = answers(Newton(), jaxrnn.Checkpointed(3, Newton()))
    want = answers(Scan(), Scan())
    testing.assert_close("transformations", "Newton", got, want, 1e-9)


@pytest.mark.parametrize("derivative", [jax.jacfwd, jax.hessian, jax.linearize])
def test_forward_mode_names_what_has_it(derivative):
    cell = ParaGRU(3, 4)
    params, xs = problem(cell, 0.5, 5)
    value = partial(squares, cell, xs, Newton())
    with pytest.raises(TypeError, match=r"Newton\(\).*jaxrnn.Scan\(\)"):
        if derivative is jax.linearize:
            jax.linearize(value, params)[1](params)
        else:
            derivative(value)(params)


def test_damping_converges_where_newton_is_thrown_off_course():
    k_init, _, _, k_xs = jax.random.split(jax.random.key(3), 4)
    cell = ParaGRU(8, 8)
    params = cell.init(k_init)
    u = 2.5 * jax.random.normal(jax.random.key(1), params.u.shape)
    params = params._replace(u=u)
    xs = jax.random.normal(k_xs, (512, 1, 8))
    assert Newton().solve(cell, params, xs).fell_back
    damped = Newton(damping=1e-3).solve(cell, params, xs)
    assert not damped.fell_back
    np.testing.assert_allclose(
        damped.ys, unroll(cell, params, xs)[1], rtol=0, atol=1e-5
    )


def test_what_would_not_fit_is_refused_and_auto_goes_on():
    lstm = LSTM(4, 128)
    with pytest.raises(NotImplementedError, match=r"1\.3e\+10 bytes.*DiagonalJacobian"):
        jaxrnn.explain(lstm, (10_000, 5, 4), strategy=Newton())
    auto = jaxrnn.Auto((Newton(), Scan()))
    said = jaxrnn.explain(lstm, (10_000, 5, 4), strategy=auto)
    assert said.decisions[0].choice.strategy == Scan()
    diagonal = Newton(jacobian=DiagonalJacobian())
    assert jaxrnn.explain(lstm, (10_000, 5, 4), strategy=diagonal).decisions
    with pytest.raises(NotImplementedError, match="differ in size"):
        jaxrnn.explain(
            ProjectedLSTM(3, 4, 2), (5, 2, 3), strategy=Newton(jacobian=BlockJacobian())
        )


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: Newton(tol=0.0), ValueError, "bound above 0"),
        (lambda: Newton(max_iter=0), ValueError, "at least 1"),
        (lambda: Newton(jacobian="full"), TypeError, r"FullJacobian\(\)"),
        (lambda: Newton(damping=-1.0), ValueError, "at least 0"),
        (
            lambda: Newton().solve(jaxrnn.Stack((GRU(3, 4),)), None, None),
            TypeError,
            "one cell",
        ),
        (
            lambda: Newton().solve(
                GRU(3, 4),
                GRU(3, 4).init(jax.random.key(0)),
                jnp.ones((5, 2, 3)),
                guess=jnp.ones((4, 2, 4)),
            ),
            ValueError,
            r"guess has the shapes \(4, 2, 4\), where \(5, 2, 4\)",
        ),
    ],
)
def test_bad_arguments_are_refused_in_words(make, error, message):
    with pytest.raises(error, match=message):
        make()
