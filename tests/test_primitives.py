"""The operations on arrays against their loops in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxrnn
from jaxrnn.ops import (
    delta_reference,
    diag_scan_reference,
    linear_attention_reference,
    log_diag_scan_reference,
)
from jaxrnn.ops._linear_attention._chunk import unit_lower_inverse


def test_unit_lower_inverse():
    """Against float64, at sizes around powers of two; entries as large as beta allows."""
    for size in (1, 2, 3, 31, 64, 100):
        rng = np.random.default_rng(size)
        below = np.tril(rng.normal(size=(2, size, size)), -1) * 2 / size**0.5
        want = np.linalg.inv(np.eye(size) + below)
        got = unit_lower_inverse(jnp.asarray(below, jnp.float32))
        np.testing.assert_allclose(got, want, atol=2e-6 * np.abs(want).max())


def test_the_delta_rule_calls_no_solver():
    """LAPACK's solver waits for the thread pool that it runs on: two programs deadlock."""
    cell = jaxrnn.DeltaNet(8, 8)
    params, xs = cell.init(jax.random.key(0)), jnp.ones((64, 2, 8))

    def loss(params):
        _, ys = jaxrnn.unroll(cell, params, xs, strategy=jaxrnn.Chunked(size=16))
        return jnp.sum(ys**2)

    text = jax.jit(jax.grad(loss)).lower(params).compile().as_text()
    assert "lapack" not in text and "triangular-solve" not in text


def test_a_batch_takes_one_way_through_its_decays():
    """Under vmap one example with strong decays decides for all; only one branch runs."""
    rng = np.random.default_rng(6)
    *mild, _ = attention(rng, 40, channels=True)
    rows = [np.stack([a, a]) for a in mild]
    rows[3][1] *= 10
    over = jax.jit(jax.vmap(jaxrnn.ops.chunked_linear_attention))
    assert "conditional(" in over.lower(*rows).compile().as_text()
    for row in (0, 1):
        want = linear_attention_reference(*(a[row] for a in rows))
        for got, w in zip(over(*rows), want, strict=True):
            np.testing.assert_allclose(got[row], w, rtol=1e-4, atol=1e-5)


def diagonal(rng, time, dtype=np.float64):
    """Decays inside the unit circle, inputs, and a state."""

    def draw(*shape):
        v = rng.uniform(-1, 1, shape)
        return v + 1j * rng.uniform(-1, 1, shape) if dtype == np.complex128 else v

    return draw(time, 3, 5) / 1.5, draw(time, 3, 5), draw(3, 5)


def logarithms(rng, time):
    """Of decays, of inputs, some of which are zero, and of a state."""
    log_b = rng.normal(size=(time, 3, 5)) * 4
    log_b[rng.uniform(size=log_b.shape) < 0.2] = -np.inf
    return -rng.uniform(0, 2, log_b.shape), log_b, rng.normal(size=(3, 5))


def attention(rng, time, channels=False, strength=1):
    """q, k, v, log decays, a state, for a batch of 3 and 2 heads."""
    head = (time, 3, 2)
    q, k = rng.normal(size=(2, *head, 4))
    decay = -strength * rng.exponential(size=(*head, 4) if channels else head)
    return q, k, rng.normal(size=(*head, 5)), decay, rng.normal(size=(3, 2, 4, 5))


def delta(rng, time):
    """The same with unit keys, and shares of up to 2: negative eigenvalues."""
    q, k, v, decay, state = attention(rng, time)
    k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    return q, k, v, rng.uniform(0, 2, decay.shape), decay, state


ATTENTION = jaxrnn.ops.chunked_linear_attention, linear_attention_reference, attention
OPERATIONS = {
    "diag": (jaxrnn.ops.diag_scan, diag_scan_reference, diagonal),
    "complex diag": (
        jaxrnn.ops.diag_scan,
        diag_scan_reference,
        partial(diagonal, dtype=np.complex128),
    ),
    "log diag": (jaxrnn.ops.log_diag_scan, log_diag_scan_reference, logarithms),
    "attention": (partial(ATTENTION[0], size=7), *ATTENTION[1:]),
    "attention by channel": (
        partial(ATTENTION[0], size=20),  # one block and a part of another
        ATTENTION[1],
        partial(attention, channels=True),
    ),
    "strong decay by channel": (
        partial(ATTENTION[0], size=20),  # too strong to be split into two factors
        ATTENTION[1],
        partial(attention, channels=True, strength=5),
    ),
    "delta": (partial(jaxrnn.ops.chunked_delta, size=7), delta_reference, delta),
}
each_operation = pytest.mark.parametrize("name", OPERATIONS)


@each_operation
def test_values(name, x64):
    """For step counts around the size of a chunk, with and without state and resets."""
    operation, reference, draw = OPERATIONS[name]
    rng = np.random.default_rng(0)
    for time in (1, 47):
        *arrays, state = draw(rng, time)
        resets = rng.uniform(size=(time, 3)) < 0.15
        for initial, options in [
            (state, {}),
            (None, {"resets": resets}),
            (state, {"resets": resets}),
        ]:
            got = operation(*arrays, initial, **options)
            want = reference(*arrays, initial, **options)
            for g, w in zip(got, want, strict=True):
                np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-12)
                assert g.dtype == w.dtype


@each_operation
def test_an_empty_batch(name):
    operation, _, draw = OPERATIONS[name]
    *arrays, state = draw(np.random.default_rng(0), 9)
    final, outputs = operation(*(a[:, :0] for a in arrays), state[:0])
    assert len(final) == 0 and outputs.shape[:2] == (9, 0)


@pytest.mark.parametrize("name", ["diag", "complex diag", "log diag"])
def test_backwards_in_time(name, x64):
    operation, reference, draw = OPERATIONS[name]
    rng = np.random.default_rng(1)
    *arrays, state = draw(rng, 13)
    resets = rng.uniform(size=(13, 3)) < 0.15
    got = operation(*arrays, state, resets=resets, reverse=True)
    want = reference(*arrays, state, resets=resets, reverse=True)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-9)


@each_operation
def test_derivatives_of_both_modes(name, x64):
    """Against differences; second derivatives too, where JAX does not derive them itself."""
    operation, _, draw = OPERATIONS[name]
    arrays = [a[:, :1] for a in draw(np.random.default_rng(2), 9)[:-1]]
    state = draw(np.random.default_rng(3), 1)[-1][:1]
    finite = [np.where(np.isfinite(a), a, 0.0) for a in (*arrays, state)]
    resets = np.arange(9)[:, None] == 4

    @jax.jit
    def loss(*given):
        results = operation(*given, resets=resets)
        return sum(jnp.sum(jnp.real(jnp.sin(r))) for r in results)

    order = 2 if "diag" in name else 1
    check_grads(loss, finite, order=order, rtol=1e-5, atol=1e-5)


EXTREMES = {
    "diag": (0, 0.0),  # decays of zero
    "complex diag": (0, 0.0),
    "log diag": (1, -np.inf),  # inputs of zero, so that the states are zero as well
    "attention": (3, -1e4),  # log decays whose exponentials underflow
    "attention by channel": (3, -39 / 20),  # as strong as one factor can be
    "strong decay by channel": (3, -1e4),
    "delta": (4, -1e4),
}


@each_operation
def test_gradients_are_finite_at_extremes(name):
    operation, reference, draw = OPERATIONS[name]
    *arrays, _ = draw(np.random.default_rng(4), 40)
    place, value = EXTREMES[name]
    arrays[place] = np.full_like(arrays[place], value)
    low = [a.astype(np.complex64 if "complex" in name else np.float32) for a in arrays]

    @jax.jit
    def loss(given):
        results = operation(*given)
        finite = [jnp.where(jnp.isfinite(r), r, 0) for r in results]
        return sum(jnp.sum(jnp.real(r * jnp.conj(r))) for r in finite), results

    gradients, results = jax.grad(loss, has_aux=True)(low)
    for leaf in gradients:
        assert bool(jnp.isfinite(leaf).all())
    for got, want in zip(results, reference(*arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@each_operation
def test_low_precision_inputs_have_a_float32_state(name):
    operation, reference, draw = OPERATIONS[name]
    if name == "complex diag":
        arrays = [np.complex64(a) for a in draw(np.random.default_rng(5), 300)]
    else:
        arrays = [
            jnp.asarray(a, jnp.bfloat16) for a in draw(np.random.default_rng(5), 300)
        ]
    got = operation(*arrays)
    kind = np.complex128 if name == "complex diag" else np.float64
    want = reference(*[np.asarray(a, kind) for a in arrays])
    for g, w in zip(got, want, strict=True):
        assert g.dtype in (jnp.float32, jnp.complex64)
        np.testing.assert_allclose(g, w, rtol=2e-4, atol=2e-4)


def test_bad_input_is_refused():
    a = jnp.ones((4, 2, 3))
    scan, attend = jaxrnn.ops.diag_scan, jaxrnn.ops.chunked_linear_attention
    bad = [
        (lambda: scan(a, a[:3]), ValueError, r"a has the shape \(4, 2, 3\)"),
        (lambda: scan([1.0], a), TypeError, "a is list"),
        (lambda: scan(a, a.astype(int)), TypeError, "b is int32"),
        (lambda: scan(a[:0], a[:0]), ValueError, "no steps"),
        (lambda: scan(a, a, a), ValueError, r"initial has the shape"),
        (lambda: scan(a, a, resets=jnp.ones((4, 2))), TypeError, "resets are float32"),
        (lambda: scan(a, a, resets=jnp.ones(2, bool)), ValueError, r"\(2,\)"),
        (lambda: scan(a, a, reverse=1), TypeError, "True or False"),
        (
            lambda: jaxrnn.ops.log_diag_scan(a.astype(complex), a),
            TypeError,
            "log_a is complex",
        ),
        (lambda: attend(a, a, a, a[..., :2]), ValueError, "log_decay has the shape"),
        (lambda: attend(a, a, a, a, size=0), ValueError, "size is 0"),
        (lambda: jaxrnn.GLA(3, 5, heads=2), ValueError, "heads=2.*multiple"),
        (lambda: jaxrnn.LRU(3, 4, r_max=1.5), ValueError, "r_max=1.5"),
        (lambda: jaxrnn.Chunked(0), ValueError, "at least 1"),
    ]
    for call, kind, words in bad:
        with pytest.raises(kind, match=words):
            call()
