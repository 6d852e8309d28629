"""Remedies against vanishing and exploding gradients: clipping in the loop, and penalties.

`ClipGradient` is not a row of `COMBINATORS`, since it has no derivatives in forward mode.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import GRU, LSTM, ClipGradient, Elman, testing, training
from jaxrnn.layers import Forcing
from jaxrnn.layers._clip_gradient import _limited

from .helpers import each


T, B, Y = 6, 3, 4
LENGTHS = jnp.array([6, 3, 0])


def outputs(dtype=np.float64):
    return np.random.default_rng(0).standard_normal((T, B, Y)).astype(dtype)


def clipped(g, max_norm, max_value):
    """The definition, for the gradient of one sequence, in NumPy."""
    if max_norm is None:
        return np.clip(g, -max_value, max_value)
    return g * min(1.0, max_norm / np.linalg.norm(g))


LIMITS = [{"max_norm": 0.5}, {"max_value": 0.2}]


@each("limit", LIMITS)
def test_clipping_is_the_recursion_in_numpy(limit):
    """ds = clip(dy_t + later), backwards through tanh, for an Elman network."""
    with jax.enable_x64(True):
        cell = ClipGradient(Elman(3, Y), **limit)
        params = cell.init(jax.random.key(0))
        xs, dy = jnp.asarray(outputs()[..., :3]), 3 * outputs()
        start = jnp.asarray(outputs()[0])

        def total(params, start):
            return jnp.sum(jaxrnn.unroll(cell, params, xs, start)[1] * dy)

        d_params, d_start = jax.grad(total, argnums=(0, 1))(params, start)
        _, ys = jaxrnn.unroll(cell.cell, params, xs, start)
        before = np.concatenate([start[None], ys[:-1]])
        later, d_u, largest = np.zeros((B, Y)), np.zeros((Y, Y)), 0.0
        for t in reversed(range(T)):
            g = np.stack([clipped(g, **both(limit)) for g in dy[t] + later])
            largest = max(largest, np.abs(dy[t] + later - g).max())
            dz = g * (1 - np.asarray(ys[t]) ** 2)
            d_u += before[t].T @ dz
            later = dz @ np.asarray(params.u).T
        assert largest > 1, "the limit is reached"
        np.testing.assert_allclose(d_params.u, d_u, rtol=1e-10)
        np.testing.assert_allclose(d_start, later, rtol=1e-10)


def both(limit):
    return {"max_norm": None, "max_value": None, **limit}


@each("limit", LIMITS)
@each("cell", [LSTM(3, 4), jaxrnn.LRU(3, 4)], [LSTM(3, 4)])
def test_unroll_equals_steps_and_strategies_that_run_it_agree(cell, limit):
    layer = ClipGradient(cell, **limit)
    for options in ([], ["lengths", "mask", "resets"]):
        testing.check_unroll(layer, options)
    for strategy in (jaxrnn.Hoisted(block=3), jaxrnn.Checkpointed(4)):
        testing.check_strategy(strategy, layer)


def test_a_wavefront_of_clipped_cells_agrees():
    stack = jaxrnn.Stack((ClipGradient(GRU(3, 3), max_norm=0.1),) * 2)
    testing.check_strategy(jaxrnn.Wavefront(jaxrnn.Scan()), stack, time=4)


def test_an_exploding_gradient_is_bounded_and_the_values_stay():
    """Of the weights 3 I without activation, over 200 steps."""
    cell = Elman(3, 4, activation=jnp.positive)
    params = cell.init(jax.random.key(0))._replace(u=3 * jnp.eye(4))
    start, xs = jnp.zeros((1, 4)), jnp.zeros((200, 1, 3))

    def gradient(cell):
        last = lambda s: jnp.sum(jaxrnn.unroll(cell, params, xs, s)[0])
        return last(start), jax.grad(last)(start)

    value, free = gradient(cell)
    assert not np.isfinite(free).all()
    for limit, bound in (({"max_norm": 1.0}, 1.0), ({"max_value": 1.0}, 4**0.5)):
        same, bounded = gradient(ClipGradient(cell, **limit))
        assert same == value
        assert 0 < np.linalg.norm(bounded) <= 3 * bound * (1 + 1e-6)


def test_a_norm_of_very_large_entries_and_of_zeros():
    pull = lambda g: jax.vjp(lambda s: _limited(1.0, None, [s])[0], g)[1](g)[0]
    large = jnp.array([3e30, -4e30])  # the squares are not float32
    np.testing.assert_allclose(pull(large), [0.6, -0.8], rtol=1e-6)
    np.testing.assert_array_equal(pull(jnp.zeros(2)), [0.0, 0.0])
    assert np.isnan(pull(jnp.array([jnp.nan, 1.0]))[0]), "NaN is not hidden"


def test_other_strategies_and_methods_say_which_can():
    cell = ClipGradient(GRU(3, 4), max_norm=1.0)
    params, xs = cell.init(jax.random.key(0)), jnp.ones((T, B, 3))
    refusing = [jaxrnn.Newton(), jaxrnn.Fused(), jaxrnn.Associative(), jaxrnn.Chunked()]
    for layer in (cell, jaxrnn.LearnedState(cell)):
        for strategy in refusing:
            with pytest.raises(NotImplementedError, match="cannot run"):
                given = params if layer is cell else layer.init(jax.random.key(0))
                jaxrnn.unroll(layer, given, xs, strategy=strategy)
    with pytest.raises(NotImplementedError, match="do not clip"):
        jaxrnn.explain(cell, (T, B, 3), strategy=jaxrnn.Fused(), platform="gpu")
    linear = ClipGradient(jaxrnn.LRU(3, 4), max_norm=1.0)
    with pytest.raises(NotImplementedError, match="not a LinearCell"):
        jaxrnn.unroll(
            linear, linear.init(jax.random.key(0)), xs, strategy=jaxrnn.Associative()
        )
    forced = jaxrnn.TeacherForcing(cell, alpha=0.5)
    with pytest.raises(
        NotImplementedError, match=r"cannot clip a gradient; Hoisted\(\)"
    ):
        inputs = Forcing(xs, jnp.ones((T, B, 4)))
        jaxrnn.unroll(forced, params, inputs, strategy=jaxrnn.Newton())
    loss, targets = lambda y, target: jnp.sum((y - target) ** 2), jnp.zeros((T, B, 4))
    run = lambda method: jaxrnn.value_and_grad(
        cell, loss, params, xs, targets, method=method, key=KEYS.get(type(method))
    )
    for method in (jaxrnn.RTRL(), jaxrnn.UORO(), jaxrnn.SnAp(1), jaxrnn.KFRTRL()):
        with pytest.raises(NotImplementedError, match=r"use BPTT\(\) or TBPTT\(\)"):
            run(method)
    for method in (jaxrnn.EProp(), jaxrnn.RFLO(), jaxrnn.Immediate()):
        with pytest.raises(NotImplementedError):
            run(method)


def test_tbptt_clips_before_it_takes_the_mean_over_steps_and_sequences():
    cell, xs = GRU(3, 4), jnp.asarray(outputs(np.float32)[..., :3])
    params, targets = cell.init(jax.random.key(0)), jnp.zeros((T, B, 4))
    loss = lambda y, target: jnp.sum((y - target) ** 2)

    def run(limit, method):
        layer = ClipGradient(cell, max_norm=limit)
        return jaxrnn.value_and_grad(layer, loss, params, xs, targets, method=method)

    found = run(0.3, jaxrnn.TBPTT(T, T))
    want = run(0.3 / (T * B), jaxrnn.BPTT())
    testing.assert_close("TBPTT", "", found, want, 1e-5)


KEYS = {jaxrnn.UORO: jax.random.key(0), jaxrnn.KFRTRL: jax.random.key(0)}


def norms(y):
    return np.sqrt((np.abs(y) ** 2).sum(-1))


def mean_of(values):
    return np.mean(values) if len(values) else 0.0


PENALTIES = {
    "activation_regularization": lambda rows: mean_of(
        [np.mean(np.abs(y) ** 2) for row in rows for y in row]
    ),
    "temporal_activation_regularization": lambda rows: mean_of(
        [np.mean(np.abs(b - a) ** 2) for row in rows for a, b in pairs(row)]
    ),
    "norm_stabilizer": lambda rows: mean_of(
        [(norms(b) - norms(a)) ** 2 for row in rows for a, b in pairs(row)]
    ),
}


def pairs(row):
    return [(row[t], row[t + 1]) for t in range(len(row) - 1)]


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_is_its_loop_and_its_gradient_that_of_differences(name):
    penalty = getattr(training, name)
    with jax.enable_x64(True):
        ys, direction = outputs(), outputs()[::-1]
        for lengths in (None, LENGTHS, jnp.zeros(B, int)):
            ends = [T] * B if lengths is None else [int(n) for n in lengths]
            loop = lambda ys, ends=ends: PENALTIES[name](
                [ys[:n, b] for b, n in enumerate(ends)]
            )
            np.testing.assert_allclose(penalty(ys, lengths), loop(ys), rtol=1e-12)
            grad = jax.grad(penalty)(jnp.asarray(ys), lengths)
            up, down = (loop(ys + sign * 1e-5 * direction) for sign in (1, -1))
            along = np.sum(np.asarray(grad) * direction)
            np.testing.assert_allclose(along, (up - down) / 2e-5, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", PENALTIES)
def test_nothing_in_the_padding_reaches_a_penalty(name):
    penalty = jax.jit(jax.value_and_grad(getattr(training, name)))
    ys = jnp.asarray(outputs(np.float32))
    inside = training.valid_steps(LENGTHS, T)[..., None]
    clean = penalty(jnp.where(inside, ys, 0), LENGTHS)
    spoiled = penalty(jnp.where(inside, ys, jnp.nan), LENGTHS)
    np.testing.assert_array_equal(spoiled[0], clean[0])
    np.testing.assert_array_equal(spoiled[1], clean[1])
    assert np.isfinite(clean[1]).all() and float(clean[0]) > 0


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_of_one_step_of_zeros_of_float16_and_of_wrong_shapes(name):
    penalty = getattr(training, name)
    one = jnp.ones((1, B, Y))
    want = 1.0 if name == "activation_regularization" else 0.0
    assert float(penalty(one)) == want
    assert not jax.grad(penalty)(jnp.zeros((T, B, Y))).any()
    large = penalty(300 * outputs(np.float16))  # the squares are not float16
    assert large.dtype == jnp.float32 and np.isfinite(large)
    for shape in ((0, B, Y), (T, 0, Y)):
        assert float(penalty(jnp.ones(shape))) == 0.0
    with pytest.raises(ValueError, match=r"\(T, B, features\)"):
        penalty(jnp.ones((T, B)))
    with pytest.raises(ValueError, match="lengths have the shape"):
        penalty(jnp.ones((T, B, Y)), jnp.ones(B + 1, int))


def test_soft_orthogonality_is_its_loop_over_gates():
    with jax.enable_x64(True):
        u = np.random.default_rng(1).standard_normal((3, 12))
        for gates, width in ((None, 3), (4, 3), (6, 2), (2, 6)):
            want = 0.0
            for g in range(12 // width):
                block = u[:, g * width : (g + 1) * width]
                gram = block.T @ block if width <= 3 else block @ block.T
                want += np.sum((gram - np.eye(len(gram))) ** 2)
            found = training.soft_orthogonality(u, gates=gates)
            np.testing.assert_allclose(found, want, rtol=1e-12)
        move = np.random.default_rng(2).standard_normal(u.shape)
        up, down = (training.soft_orthogonality(u + s * 1e-6 * move) for s in (1, -1))
        along = np.sum(
            np.asarray(jax.grad(training.soft_orthogonality)(jnp.asarray(u))) * move
        )
        np.testing.assert_allclose(along, (up - down) / 2e-6, rtol=1e-6)
    params = LSTM(3, 4).init(jax.random.key(0))
    assert float(training.soft_orthogonality(params.u)) < 1e-9, "orthogonal at first"
    for wrong in (jnp.ones(3), jnp.ones((3, 4)), jnp.ones((0, 4))):
        with pytest.raises(ValueError, match="soft_orthogonality"):
            training.soft_orthogonality(wrong)
    with pytest.raises(ValueError, match="gates=5"):
        training.soft_orthogonality(jnp.ones((3, 12)), gates=5)


BAD = {
    "both": (lambda: ClipGradient(GRU(3, 4), 1.0, 1.0), ValueError, "exactly one"),
    "neither": (lambda: ClipGradient(GRU(3, 4)), ValueError, "exactly one"),
    "zero": (lambda: ClipGradient(GRU(3, 4), max_norm=0.0), ValueError, "above 0"),
    "NaN": (
        lambda: ClipGradient(GRU(3, 4), max_value=float("nan")),
        ValueError,
        "above",
    ),
    "word": (lambda: ClipGradient(GRU(3, 4), max_norm="a"), TypeError, "number"),
    "stack": (
        lambda: ClipGradient(jaxrnn.Stack((GRU(3, 4),)), max_norm=1.0),
        TypeError,
        "wrap each cell",
    ),
}


@pytest.mark.parametrize("call, kind, words", BAD.values(), ids=BAD)
def test_bad_limits_get_a_clear_error(call, kind, words):
    with pytest.raises(kind, match=words):
        call()
