"""Accuracy where digits are easily lost: small poles, narrow dtypes, long memories.

The expected values are computed in float64, or in float32 for float16.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn
from jaxrnn import (
    CTRNN,
    S5,
    SLSTM,
    SSD,
    DeltaNet,
    GatedDeltaNet,
    LayerNormGRU,
    LayerNormLSTM,
    cells,
    diagnostics,
    training,
)

from .helpers import CELLS, each


KEY = jax.random.key(0)


def phi_and_slope(z):
    """(exp(z) - 1) / z and its derivative, by the power series in float64."""
    terms = [(1 / math.factorial(j + 1), j) for j in range(60)]
    value = sum(c * z**j for c, j in terms)
    return value, sum(c * j * z ** (j - 1) for c, j in terms if j)


@each("pole", [-1.1e-4 + 1e-3j, -1.1e-4 + 0j, -0.01 + 1j, -0.5 + 98j, -0.5 + 300j])
def test_s5_keeps_the_digits_of_slow_poles(pole):
    """b = phi(Lambda dt) dt x, and its derivatives, at |Lambda dt| from 1e-6 to 3."""
    dt, cell = 1e-2, jaxrnn.S5(1, 1)
    ones = jax.tree.map(jnp.ones_like, cell.init(KEY))
    params = ones._replace(
        lambda_re=ones.lambda_re * pole.real,
        lambda_im=ones.lambda_im * pole.imag,
        log_step=ones.log_step * math.log(dt),
        b_im=0 * ones.b_im,
    )

    def driven(params):
        state, _ = cell.step(params, cell.initial_state(params), jnp.ones(1))
        return jnp.stack([state.real, state.imag])[:, 0]

    value, slope = phi_and_slope(pole * dt)
    by_step = dt * value + dt * pole * dt * slope
    close = lambda got, want: np.testing.assert_allclose(
        got, [want.real, want.imag], rtol=1e-5, atol=2e-7 * abs(want)
    )
    close(driven(params), dt * value)
    slopes = jax.jacrev(driven)(params)
    close(slopes.lambda_re[:, 0], dt**2 * slope)
    close(slopes.lambda_im[:, 0], 1j * dt**2 * slope)
    close(slopes.log_step[:, 0], by_step)
    forward = jax.jacfwd(driven)(params)
    np.testing.assert_allclose(forward.lambda_re, slopes.lambda_re, rtol=1e-6)


def test_second_derivatives_of_slow_poles(x64):
    """phi_1'' = sum_j (j + 2) (j + 1) z^j / (j + 3)!, with and without the series."""
    from jaxrnn.cells._phi import phi

    points = jnp.array([-1e-7, -0.3, -0.999, -1.001, -4.0])
    curve = jax.vmap(jax.grad(jax.grad(lambda z: phi(1, z))))(points)
    z = np.asarray(points)
    want = sum(
        (j + 2) * (j + 1) * z**j / math.factorial(j + 3) for j in reversed(range(60))
    )
    np.testing.assert_allclose(curve, want, rtol=1e-12)


CELL_OF_A_KIND = {type(c): c for c in CELLS}


DELICATE = (
    LayerNormLSTM | LayerNormGRU | SLSTM | CTRNN | S5 | SSD | DeltaNet | GatedDeltaNet
)
"""Cells that divide by sums, or keep a state that is wider than their parameters."""


def ways():
    """Each cell under `Scan`, and the delicate ones also under `Chunked` or `Hoisted`."""
    for cell in CELL_OF_A_KIND.values():
        if type(cell).__name__ not in dir(cells):
            continue
        yield cell, jaxrnn.Scan()
        if isinstance(cell, DELICATE):
            by_chunks = isinstance(cell, jaxrnn.LinearCell | jaxrnn.MatrixCell)
            yield cell, jaxrnn.Chunked(8) if by_chunks else jaxrnn.Hoisted()


WAYS = [*ways()]
QUICK = [
    way for way in WAYS if isinstance(way[0], DELICATE) and way[1] != jaxrnn.Scan()
]


@each("way", WAYS, QUICK)
def test_float16_is_near_float32(way):
    """Values and gradients over 20 steps, the first input zero, the last ones large.

    The tolerance is measured: float32 with parameters and inputs that have errors as large
    as float16 rounds.
    """
    cell, strategy = way
    params = jaxrnn.cast(cell.init(KEY), jnp.float16)
    largest = 30.0 if isinstance(cell, SSD | DeltaNet | GatedDeltaNet) else 6.0
    sizes = jnp.linspace(0.0, largest, 20)[:, None, None]
    xs = sizes * jax.random.normal(jax.random.key(1), (20, 2, cell.input_size))
    xs = xs.astype(jnp.float16)

    @jax.jit
    def run(params, xs):
        def loss(params, xs):
            state, ys = jaxrnn.unroll(cell, params, xs, strategy=strategy)
            return jnp.mean(ys.astype(jnp.float32) ** 2), (state, ys)

        grads, values = jax.grad(loss, (0, 1), has_aux=True)(params, xs)
        return *values, *grads

    exact = jaxrnn.cast((params, xs), jnp.float32)
    got, want = run(params, xs), run(*exact)
    others = [run(*rounded(exact, seed)) for seed in range(3)]
    for leaf, right, *near in zip(
        *map(jax.tree.leaves, (got, want, *others)), strict=True
    ):
        assert np.isfinite(leaf).all()
        size = lambda v: np.max(np.abs(v), initial=0.0)
        spread = max(size(other - right) for other in near)
        error = size(np.asarray(leaf, np.complex64) - np.asarray(right))
        # 20 roundings of 5e-4; float16 has no digits left below 6e-5
        assert error <= 0.01 * size(right) + 1e-4 + 3 * spread


def rounded(tree, seed):
    """The tree with random errors as large as float16's rounding."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    moved = [
        v * (1 + 5e-4 * jax.random.normal(k, v.shape))
        for k, v in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, moved)


@each("dtype", [jnp.bfloat16, jnp.float16])
def test_an_slstm_remembers_for_thousands_of_steps(dtype):
    """Gates f = sigmoid(9), i = 1: c and n are sums that decay by 1.2e-4 a step."""
    cell = jaxrnn.SLSTM(1, 1)
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY))
    params = params._replace(b=params.b.at[1].set(9.0), w=params.w.at[0, 2].set(1.0))
    inputs = np.where(np.arange(3000) < 1500, 1.0, -1.0)
    c = n = 0.0
    for z in np.tanh(inputs):
        c, n = c / (1 + np.exp(-9.0)) + z, n / (1 + np.exp(-9.0)) + 1
    xs = jnp.asarray(inputs, dtype)[:, None, None]
    state, ys = jaxrnn.unroll(cell, jaxrnn.cast(params, dtype), xs)
    assert ys.dtype == dtype and state.c.dtype == jnp.float32
    np.testing.assert_allclose(float(ys[-1, 0, 0]), 0.5 * c / n, rtol=5e-3)


@each("dtype", [jnp.bfloat16, jnp.float16])
def test_a_slow_ctrnn_moves(dtype):
    """tau = 4096: h = tanh(1) (1 - exp(-T / tau)) moves by less than 1/4000 of h per step."""
    cell = jaxrnn.CTRNN(1, 1, u_init=jaxrnn.initializers.Identity(0.0))
    params = cell.init(KEY)._replace(
        w=jnp.ones((1, 1)), log_tau=jnp.log(jnp.array([4096.0]))
    )
    xs = jnp.ones((2000, 1, 1), dtype)
    _, ys = jaxrnn.unroll(cell, jaxrnn.cast(params, dtype), xs)
    tau = np.exp(float(np.asarray(params.log_tau.astype(dtype), np.float64)[0]))
    want = np.tanh(1.0) * (1 - np.exp(-2000 / tau))
    np.testing.assert_allclose(float(ys[-1, 0, 0]), want, rtol=5e-3)


def start_of(cell):
    """A loss of a learned initial state, zero at 1i, and the state to start from."""
    params, xs = cell.init(KEY), jnp.zeros((6, 1, cell.input_size))
    first = params.initial

    def outputs(initial):
        return jaxrnn.unroll(cell, params._replace(initial=initial), xs)[1]

    goal = outputs(first._replace(im=first.im + 1))
    return lambda initial: jnp.sum((outputs(initial) - goal) ** 2), first


@each("cell", [jaxrnn.LRU(3, 4), jaxrnn.S5(3, 4)])
def test_learned_complex_states_descend(cell):
    loss, first = start_of(jaxrnn.LearnedState(cell))
    optimizer, value_and_grad = optax.sgd(0.01), jax.jit(jax.value_and_grad(loss))
    initial, opt_state = first, optimizer.init(first)
    for _ in range(100):
        value, grads = value_and_grad(initial)
        updates, opt_state = optimizer.update(grads, opt_state)
        initial = optax.apply_updates(initial, updates)
    assert value < loss(first) / 2
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(initial))


def test_a_learned_complex_state_is_in_the_dtype_of_the_cell():
    cell = jaxrnn.LearnedState(jaxrnn.LRU(3, 4))
    params = cell.init(KEY)
    params = params._replace(
        initial=jaxrnn.layers.ComplexParts(jnp.ones(4), -jnp.ones(4))
    )
    for dtype in (jnp.float32, jnp.bfloat16):
        state = cell.initial_state(jaxrnn.cast(params, dtype))
        np.testing.assert_array_equal(state, np.full(4, 1 - 1j, np.complex64))


def test_complex_parameters_descend_in_a_train_step():
    """|z - w|^2 rises fastest along 2 (z - w); |g| = 2 |z - w|."""
    goal = jnp.array([1 - 2j, 3j], jnp.complex64)
    loss = lambda z: (jnp.sum(jnp.abs(z - goal) ** 2), None)
    step = training.make_train_step(loss, optax.sgd(0.25), max_norm=1e3)
    state, update = step(
        training.train_state(jnp.zeros(2, goal.dtype), optax.sgd(0.25))
    )
    assert update.gradient_norm.dtype == jnp.float32
    np.testing.assert_allclose(update.gradient_norm, 2 * np.sqrt(14), rtol=1e-6)
    np.testing.assert_allclose(state.params, goal / 2, rtol=1e-6)


def test_gradients_in_float16_are_clipped_by_their_norm():
    """|g| = 600, and its square overflows float16."""
    loss = lambda z: (300 * jnp.sum(z).astype(jnp.float32), None)
    step = training.make_train_step(loss, optax.sgd(1.0), max_norm=2.0)
    state, update = step(
        training.train_state(jnp.zeros(4, jnp.float16), optax.sgd(1.0))
    )
    np.testing.assert_allclose(update.gradient_norm, 600, rtol=1e-6)
    np.testing.assert_allclose(state.params, -1, rtol=1e-3)


def test_squared_errors_of_complex_numbers():
    error = training.squared_error(
        jnp.full((2, 1, 1), 3 + 4j), jnp.zeros((2, 1, 1), jnp.complex64)
    )
    assert error.dtype == jnp.float32 and float(error) == 25.0


@each("scale", [1.0, 1e25])
def test_norms_by_lag_of_a_complex_state(scale):
    """y = Re(C h): d sum(y_T) / d h_{T-k} has the size of lambda^k C summed over y."""
    cell = jaxrnn.LRU(3, 4)
    params, xs = cell.init(KEY), jnp.ones((5, 2, 3))
    norms = diagnostics.gradient_norm_by_lag(
        cell, params, xs, jnp.zeros(2), lambda y, target: scale * jnp.sum(y - target)
    )
    p = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    decay = np.exp(-np.exp(p.nu) + 1j * np.exp(p.theta))
    c = np.sum(p.c_re + 1j * p.c_im, axis=1)
    want = [np.linalg.norm(scale * c * decay**k) for k in range(1, 6)]
    assert norms.dtype == jnp.float32
    np.testing.assert_allclose(norms, want, rtol=1e-5)


def test_norms_by_lag_in_float16():
    """h' = h + x, y = h: |d 4e4 sum(y) / d h| = 4e4 sqrt(4), which float16 cannot hold."""
    cell = jaxrnn.IndRNN(
        4,
        4,
        w_init=jaxrnn.initializers.Identity(),
        u_init=jaxrnn.initializers.Uniform(1.0, 1.0),
    )
    params = jaxrnn.cast(cell.init(KEY), jnp.float16)
    norms = diagnostics.gradient_norm_by_lag(
        cell,
        params,
        jnp.full((5, 3, 4), 0.01, jnp.float16),
        jnp.zeros(3, jnp.float16),
        lambda y, target: 4e4 * jnp.sum(y - target),
    )
    np.testing.assert_allclose(norms, np.full(5, 8e4), rtol=1e-6)


def test_complex_leaves_are_cast_and_dropped():
    tree = {"z": jnp.array([1 + 2j, 3j], jnp.complex64), "n": jnp.arange(2)}
    assert jaxrnn.cast(tree, jnp.bfloat16)["z"].dtype == jnp.complex64
    with jax.enable_x64(True):
        double = jaxrnn.cast(tree, jnp.float64)
    assert double["z"].dtype == jnp.complex128
    assert double["n"].dtype == tree["n"].dtype
    np.testing.assert_array_equal(double["z"], tree["z"])
    many = {"u": jnp.full((200, 200), 3 - 4j)}
    (dropped,) = jaxrnn.drop_connect(many, 0.2, KEY, where=lambda path: True).values()
    kept = np.asarray(dropped)[np.asarray(dropped) != 0]
    assert dropped.dtype == jnp.complex64
    np.testing.assert_allclose(kept, (3 - 4j) / 0.8, rtol=1e-6)
    assert abs(kept.size / dropped.size - 0.8) < 4 * math.sqrt(0.16 / dropped.size)
