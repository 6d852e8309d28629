"""NaN and infinity pass neither a reset nor the end of a sequence.

This holds for values forward and gradients backward, under any strategy and in any operation.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import (
    GRU,
    LSTM,
    Associative,
    Bidirectional,
    Checkpointed,
    Chunked,
    Fused,
    Hoisted,
    LearnedState,
    Newton,
    Scan,
    Stack,
    Wavefront,
    Zoneout,
)
from jaxrnn.ops import _log_diag_scan as log_scan
from jaxrnn.ops import (
    delta_reference,
    diag_scan_reference,
    linear_attention_reference,
    log_diag_scan_reference,
)
from jaxrnn.ops._diag_scan import linear_recurrence, parallel
from jaxrnn.strategies import FullJacobian
from jaxrnn.strategies.newton._recurrences import parallel_matrix
from jaxrnn.testing._case import make_case

from .helpers import LINEAR, MATRIX, Decay, each, label


TIME, BAD, SEGMENT = 9, 4, slice(3, 7)
"""One of three segments of row 0 has a bad step. Row 1 ends before its last step, row 2 has
no step at all, and row 3 has no resets."""
LENGTHS = jnp.array([9, 5, 0, 9])
RESETS = jnp.zeros((TIME, 4), bool).at[jnp.array([0, 3, 7]), 0].set(True)
RESETS = RESETS.at[0, 1].set(True)

ROWS = [
    (LINEAR[0], Chunked(4)),
    (MATRIX[0], Chunked(4)),
    (MATRIX[1], Chunked(4)),
    (MATRIX[3], Chunked(4)),
    (Decay(3), Scan()),
    (Decay(3), Hoisted()),
    (Decay(3), Associative()),
    (Decay(3), Newton()),
    (Decay(3), Fused()),
    (GRU(3, 4), Newton()),
    (LSTM(3, 4), Fused()),
    (Stack((GRU(3, 3), GRU(3, 3))), Wavefront()),
]
MORE = [(cell, Chunked(4)) for cell in (*LINEAR[1:], MATRIX[2], *MATRIX[4:])]
MORE += [
    (Decay(3), Checkpointed(4)),
    (LINEAR[0], Associative()),
    (LINEAR[-1], Fused()),
    (MATRIX[1], Scan()),
    (GRU(3, 4), Hoisted(block=4)),
    (GRU(3, 4), Fused()),
    (LearnedState(LSTM(3, 4)), Checkpointed(4)),
    (LSTM(3, 4), Newton(jacobian=FullJacobian())),
    (Zoneout(GRU(3, 4), 0.2), Scan()),
    (Stack((MATRIX[0], MATRIX[0])), Wavefront(Scan())),
    (Bidirectional(GRU(3, 4)), Wavefront()),
]
ROWS += [pytest.param(row, marks=pytest.mark.full, id=label(row)) for row in MORE]


def runner(layer, params, strategy):
    """Outputs and the final state, and the gradients of inputs, state and params."""

    @jax.jit
    def run(xs, state, g):
        def unroll(xs, state, params):
            options = {"lengths": LENGTHS, "resets": RESETS, "strategy": strategy}
            return jaxrnn.unroll(layer, params, xs, state, **options)

        (after, ys), pull = jax.vjp(unroll, xs, state, params)
        d_xs, d_state, d_params = pull((jax.tree.map(jnp.ones_like, after), g))
        return {"ys": ys, "d_xs": d_xs}, {"after": after, "d_state": d_state}, d_params

    return run


def finite_rows(tree, rows):
    """The given rows of each leaf of a state, after a check that they are finite."""
    leaves = [np.asarray(x)[rows] for x in jax.tree.leaves(tree)]
    assert all(np.isfinite(x).all() for x in leaves)
    return leaves


def assert_equal(got, want, rows=slice(None)):
    pairs = zip(finite_rows(got, rows), finite_rows(want, rows), strict=True)
    for g, w in pairs:
        np.testing.assert_allclose(g, w, rtol=2e-4, atol=2e-5)


@each("row", ROWS)
def test_nothing_passes_a_reset_or_the_end_of_a_row(row):
    layer, strategy = row
    case = make_case(layer, TIME, 4, 0)
    g = jax.random.normal(
        jax.random.key(1),
        jaxrnn.unroll(layer, case.params, case.xs)[1].shape,
        jnp.float32,
    )
    run = runner(layer, case.params, strategy)
    scan = runner(layer, case.params, Scan())
    clean = scan(case.xs, case.state, g)
    backwards = isinstance(layer, Bidirectional)

    # a bad step: its own segment, from it on, and the gradients of its segment
    spoiled = case.xs.at[BAD, 0].set(np.nan)
    steps, states, _ = run(spoiled, case.state, g)
    theirs = scan(spoiled, case.state, g)[0]
    outside = np.ones((TIME, 4), bool)
    outside[SEGMENT, 0] = False
    for name in ("ys", "d_xs"):
        lost = ~np.isfinite(np.asarray(theirs[name]))
        assert name == "d_xs" or lost[SEGMENT, 0].any()
        assert not np.isfinite(np.asarray(steps[name])[lost]).any(), name
        assert_equal(steps[name], clean[0][name], outside)
    if not backwards:
        assert_equal(steps["ys"][:BAD], clean[0]["ys"][:BAD])
    assert_equal(states, clean[1])

    # a bad cotangent: the gradients of its segment, up to it
    steps, states, _ = run(case.xs, case.state, g.at[BAD, 0].set(np.nan))
    assert_equal(steps["ys"], clean[0]["ys"])
    assert not np.isfinite(np.asarray(steps["d_xs"])[BAD, 0]).all()
    if not backwards:
        outside[BAD + 1 :, 0] = True
    assert_equal(steps["d_xs"], clean[0]["d_xs"], outside)
    assert_equal(states, clean[1])

    # bad states that a reset replaces before a step reads them, or that no step reads
    state = jax.tree.map(
        lambda s: s.at[jnp.array([0, 2])].set(jnp.asarray(np.nan, s.dtype)), case.state
    )
    steps, states, d_params = run(case.xs, state, g)
    if backwards:  # whose second direction reads the state at the last step
        return
    assert_equal(steps, clean[0])
    assert_equal(d_params, clean[2])
    assert_equal(states["d_state"], clean[1]["d_state"])
    assert_equal(states["after"], clean[1]["after"], [0, 1, 3])


def test_the_examples():
    a, b = jnp.full((4, 1), 0.5), jnp.array([[1.0], [jnp.nan], [1.0], [1.0]])
    resets = jnp.array([[0], [0], [1], [0]], bool)
    found = jaxrnn.ops.diag_scan(a, b, resets=resets)[1][:, 0]
    np.testing.assert_array_equal(found, [1, np.nan, 1, 1.5])
    q = jnp.ones((6, 1))
    v = q.at[4].set(jnp.nan)
    found = jaxrnn.ops.chunked_linear_attention(q, q, v, jnp.zeros(6))[1][:, 0]
    np.testing.assert_array_equal(found, [1, 2, 3, 4, np.nan, np.nan])


def draws(rng):
    """Arrays of 9 steps, 2 sequences and 2 heads of 3 channels, and a state."""
    head, one = (TIME, 2, 2), (TIME, 2, 2, 3)
    q, k, v = rng.normal(size=(3, *one))
    by_head, by_channel = -rng.exponential(size=head), -rng.exponential(size=one)
    beta = rng.uniform(0, 2, head)
    k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    matrix, flat = rng.normal(size=(2, 2, 3, 3)), rng.normal(size=(2, 2, 3))
    turn = np.exp(1j * q)
    return {
        "diag": ((0.5 * q, v), flat),
        "diag at once": ((0.5 * q, v), flat),
        "complex diag": ((0.5 * turn, turn), flat + 1j),
        "log diag": ((by_channel, v), flat),
        "log diag at once": ((by_channel, v), flat),
        "attention": ((q, k, v, by_head), matrix),
        "attention by channel": ((q, k, v, by_channel), matrix),
        "delta": ((q, k, v, beta, by_head), matrix),
    }


def diag_parallel(a, b, start, resets):
    states = linear_recurrence(a, b, start, resets, loop=parallel)
    return states[-1], states


def log_diag_parallel(log_a, log_b, start, resets):
    cuts = None if resets is None else resets[..., None, None]
    states = log_scan._parallel(log_a, log_b, start, cuts, False)
    return states[-1], states


attend, delta = jaxrnn.ops.chunked_linear_attention, jaxrnn.ops.chunked_delta
OPERATIONS = {
    "diag": (jaxrnn.ops.diag_scan, diag_scan_reference),
    "diag at once": (diag_parallel, diag_scan_reference),
    "complex diag": (jaxrnn.ops.diag_scan, diag_scan_reference),
    "log diag": (jaxrnn.ops.log_diag_scan, log_diag_scan_reference),
    "log diag at once": (log_diag_parallel, log_diag_scan_reference),
    "attention": (partial(attend, size=5), linear_attention_reference),
    "attention by channel": (partial(attend, size=5), linear_attention_reference),
    "delta": (partial(delta, size=5), delta_reference),
}


@pytest.mark.parametrize("cut", [True, False], ids=["resets", "no resets"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name, cut):
    """NaN, and infinities, in each input at a step; in the state; in the cotangent."""
    operation, reference = OPERATIONS[name]
    arrays, state = draws(np.random.default_rng(0))[name]
    narrow = lambda x: x.astype(np.complex64 if np.iscomplexobj(x) else np.float32)
    arrays, state = jax.tree.map(narrow, (arrays, state))
    resets = RESETS[:, ::3] if cut else None
    differentiable = "log diag at once" != name

    @jax.jit
    def run(arrays, state, g):
        call = lambda arrays, state: operation(*arrays, state, resets=resets)
        (after, outputs), pull = jax.vjp(call, arrays, state)
        return (after, outputs), pull((jnp.ones_like(after), g))

    values = arrays[1 if "diag" in name else 2]
    g = np.random.default_rng(1).normal(size=values.shape).astype(values.dtype)
    _, (clean, clean_state) = run(arrays, state, g)
    inside = np.zeros((TIME, 2), bool)
    inside[SEGMENT if cut else slice(None), 0] = True

    def check(arrays, state, g):
        got, (grads, d_state) = run(arrays, state, g)
        with np.errstate(all="ignore"):
            want = reference(*arrays, state, resets=resets)
        for x, w in zip(got, want, strict=True):
            known = np.isfinite(w)
            if "log" in name:  # the logarithm of zero
                known |= np.isneginf(w)
            assert not np.isfinite(np.asarray(x)[~known]).any()
            np.testing.assert_allclose(x[known], w[known], rtol=1e-4, atol=1e-5)
        if not differentiable:
            return grads
        for x, w in zip(grads, clean, strict=True):
            np.testing.assert_allclose(x[~inside], w[~inside], rtol=1e-3, atol=1e-5)
        rows = slice(None) if cut else slice(1, None)
        np.testing.assert_allclose(
            d_state[rows], clean_state[rows], rtol=1e-3, atol=1e-5
        )
        return grads

    for i in range(len(arrays)):
        for bad in (np.nan, np.inf, -np.inf):
            spoiled = [a.copy() for a in arrays]
            spoiled[i][BAD, 0] = bad
            check(tuple(spoiled), state, g)
    if cut:
        bad_state = state.copy()
        bad_state[0] = np.nan
        check(arrays, bad_state, g)
    bad_g = g.copy()
    bad_g[BAD, 0] = np.nan
    grads = check(arrays, state, bad_g)
    for x, w in zip(grads, clean, strict=True):  # nothing of later steps, either
        np.testing.assert_allclose(x[BAD + 1 :], w[BAD + 1 :], rtol=1e-3, atol=1e-5)
    assert not np.isfinite(np.asarray(grads[1])[3, 0]).any()


def test_matrices_parallel():
    """The scan that replaces a loop on other devices equals the loop, with resets."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 2, 3, 3)), rng.normal(size=(7, 2, 3))
    resets = np.zeros((7, 2), bool)
    resets[[2, 5], 0] = True
    b[3, 0] = np.nan
    found, d, want = (
        np.asarray(parallel_matrix(*map(jnp.asarray, (a, b, resets)))),
        np.zeros((2, 3)),
        [],
    )
    for t in range(7):
        d = np.einsum("bij,bj->bi", a[t], np.where(resets[t, :, None], 0, d)) + b[t]
        want.append(d)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
