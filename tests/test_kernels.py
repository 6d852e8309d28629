"""The kernels, called directly with arrays, against their references."""

import functools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.kernels import _native, release_workspace
from jaxrnn.kernels.reference import Operands, StepMask, layer, linear

from .helpers import each


OPS = _native.ops()

# (T, B, I, H): all ones; one sequence; H below, above and at a multiple of a panel, 32
SIZES = [
    (1, 1, 1, 1), (7, 5, 3, 31), (9, 6, 33, 70), (8, 6, 5, 7), (40, 1, 64, 65), (3, 70, 40, 96)
]  # fmt: skip
MASKS = ["all", "lengths", "reversed lengths", "lengths as a mask", "any", "resets"]


def make(name, sizes, dtype, seed=0):
    """Random operands of a kernel, large enough that gates close and open."""
    (time, batch, inputs, hidden), op = sizes, OPS[name]
    rng, columns = np.random.default_rng(seed), op.gates * hidden
    normal = lambda scale, *shape: jnp.asarray(scale * rng.normal(size=shape), dtype)
    return Operands(
        x=normal(1, time, batch, inputs),
        state=tuple(normal(1, batch, hidden) for _ in range(op.states)),
        start=tuple(normal(1, hidden) for _ in range(op.states)),
        w=normal(inputs**-0.5, inputs, columns),
        u=normal(hidden**-0.5, hidden, columns) if op.has_u else None,
        b=normal(1, columns),
        vectors=tuple(normal(0.5, hidden) for _ in range(op.vectors)),
    )


def make_mask(kind, time, batch):
    rng = np.random.default_rng(1)
    lengths, steps = rng.integers(0, time + 1, batch), np.arange(time)[:, None]
    reset = jnp.asarray(rng.random((time, batch)) < 0.3)
    valid = {
        "lengths": steps < lengths,
        "reversed lengths": steps >= time - lengths,
        "lengths as a mask": steps < lengths,
        "any": rng.random((time, batch)) < 0.6,
    }.get(kind)
    # in `unroll`, padding has no resets, but steps that a mask skips may have them
    if kind.endswith("lengths"):
        reset = reset & valid
    return StepMask(
        None if valid is None else jnp.asarray(valid), None if kind == "all" else reset
    )


def reference_run(op, mask, operands):
    """Outputs, and the gradients of their weighted sum."""
    out, vjp = jax.vjp(lambda o: layer(op.step, o, mask), operands)
    return out, vjp(weights(out, mask))[0]


def native_run(op, mask, operands):
    state, ys, kept = _native.forward(op, operands, mask, residuals=True)
    alone_state, alone, _ = _native.forward(op, operands, mask, residuals=False)
    # the backward pass must not read the residuals of skipped steps
    kept = tuple(spoilt(array, mask) for array in kept)
    grads = _native.backward(
        op, operands, mask, (ys, kept), *weights((state, ys), mask)
    )
    return ((state, ys), grads), (alone_state, alone)


def weights(out, mask):
    """Cotangents of about 1 for all outputs; zero at skipped steps, as in `unroll`."""
    d_state, d_ys = jax.tree.map(lambda o: jnp.sin(1.0 + 3.0 * jnp.cos(o)), out)
    if mask.valid is not None:
        d_ys = jnp.where(mask.valid[..., None], d_ys, 0)
    return d_state, d_ys


def assert_near(got, want, tolerance):
    for (path, a), b in zip(
        jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True
    ):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        error = np.max(np.abs(a - b)) / max(1, np.max(np.abs(b)))
        assert error <= tolerance, f"{jax.tree_util.keystr(path)}: {error:.2g}"


def spoilt(array, mask):
    """The array with NaN at all steps that do not run."""
    valid = mask.valid
    return array if valid is None else jnp.where(valid[..., None], array, jnp.nan)


def check(name, sizes, mask, dtype, tolerance):
    operands = make(name, sizes, dtype)
    mask = make_mask(mask, *sizes[:2])
    want = jax.jit(functools.partial(reference_run, OPS[name], mask))(operands)
    operands = operands._replace(x=spoilt(operands.x, mask))
    got, alone = jax.jit(functools.partial(native_run, OPS[name], mask))(operands)
    assert_near(got, want, tolerance)
    assert_near(alone, want[0], tolerance)


def test_the_kernels_are_there():
    """Without the library, the other tests would test nothing."""
    assert _native.missing() is None


@each("name", list(OPS))
def test_kernels_equal_their_references(name):
    for sizes, mask in zip(SIZES, MASKS, strict=True):
        check(name, sizes, mask, jnp.float32, 2e-5)


@each("name", list(OPS))
def test_kernels_equal_their_references_to_the_last_digits(name, x64):
    check(name, (9, 6, 33, 70), "any", jnp.float64, 1e-12)


def test_the_linear_recurrence():
    rng = np.random.default_rng(0)
    a, b, d_hs = (jnp.asarray(rng.normal(size=(20, 3, 37)), jnp.float32) for _ in "123")
    h0 = b[0]
    want, vjp = jax.vjp(linear, 0.5 * a, b, h0)
    got = _native.linear(0.5 * a, b, h0)
    assert_near(got, want, 1e-6)
    assert_near(_native.linear_backward(0.5 * a, got, h0, d_hs), vjp(d_hs), 1e-6)


@each("name", list(OPS))
def test_what_is_not_finite_goes_where_it_goes_in_the_reference(name):
    """Infinities, NaN and denormals in inputs and states, each in another sequence."""
    operands = make(name, (5, 6, 3, 33), jnp.float32)
    x = (
        operands.x.at[2, 0]
        .set(jnp.inf)
        .at[2, 1, 1]
        .set(-jnp.inf)
        .at[2, 2, 0]
        .set(jnp.nan)
    )
    x = x.at[:, 3].set(1e-41)
    h = operands.state[0].at[4].set(jnp.inf)
    operands = operands._replace(x=x, state=(h, *operands.state[1:]))
    want = jax.jit(functools.partial(layer, OPS[name].step))(operands, StepMask())
    got = jax.jit(lambda o: _native.forward(OPS[name], o, StepMask(), residuals=False))(
        operands
    )
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert np.isnan(np.asarray(want[1])).any()


def test_activations_to_a_few_units_in_the_last_place():
    """tanh(x) from one step of IndRNN; sigmoid(x) as c' of one step of LSTM from c = 1."""
    x = np.concatenate([np.linspace(-20, 20, 4001), np.geomspace(1e-30, 1, 500)])
    x = jnp.asarray(x, jnp.float32)
    one, none = jnp.ones((1, 1)), jnp.zeros(1)

    def run(name, w, u, b, state, *vectors):
        start = (none,) * len(state)
        shaped = Operands(x[None, :, None], state, start, w, u, b, vectors)
        return _native.forward(OPS[name], shaped, StepMask(), residuals=False)

    zeros, ones = jnp.zeros((x.size, 1)), jnp.ones((x.size, 1))
    _, ys, _ = run("indrnn_tanh", one, None, none, (zeros,), none)
    exact = np.tanh(np.asarray(x, np.float64))
    np.testing.assert_allclose(np.asarray(ys)[0, :, 0], exact, rtol=4e-7)
    forget = jnp.asarray([[0.0, 1.0, 0.0, 0.0]])
    closed = jnp.asarray([-200.0, 0.0, 0.0, 0.0])
    (_, c), _, _ = run("lstm", forget, jnp.zeros((1, 4)), closed, (zeros, ones))
    exact = 1 / (1 + np.exp(-np.asarray(x, np.float64)))
    np.testing.assert_allclose(np.asarray(c)[:, 0], exact, rtol=4e-7)


SCRIPT = """
import sys, numpy as np, jax, functools, jax.numpy as jnp
from jaxrnn.kernels import _native
from tests import test_kernels as t
out = {}
for name in ("lstm", "gru_before", "indrnn_tanh"):
    run = jax.jit(functools.partial(t.native_run, t.OPS[name], t.make_mask("lengths", 9, 6)))
    got = run(t.make(name, (9, 6, 33, 70), jnp.float32))
    out |= {f"{name}{i}": np.asarray(a) for i, a in enumerate(jax.tree.leaves(got))}
np.savez(sys.argv[1], **out)
print(_native.library().jaxrnn_instruction_set().decode())
"""


def test_every_instruction_set_gives_the_same(tmp_path):
    """The instruction sets of this machine, and the portable code for all others."""
    found = {}
    for wanted in ("portable", "avx2", "avx512"):
        file = tmp_path / f"{wanted}.npz"
        environment = {**os.environ, "JAXRNN_ISA": wanted, "PYTHONPATH": os.getcwd()}
        command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(file)]
        ran = subprocess.run(
            command,
            env=environment,
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        found[ran.stdout.strip()] = dict(np.load(file))
    assert "portable" in found
    for name, arrays in found.items():
        for key, array in arrays.items():
            scale = max(1, np.max(np.abs(array)))
            error = np.max(np.abs(array - found["portable"][key])) / scale
            assert error < 2e-5, (name, key, error)


def compiled_step():
    operands = make("lstm", (3, 4, 5, 33), jnp.float32)
    run = jax.jit(functools.partial(native_run, OPS["lstm"], StepMask()))
    return lambda: jax.block_until_ready(run(operands))


def test_many_threads_at_once_agree():
    """More callers than cores, with work that each call divides among XLA's threads."""
    operands = make("lstm", (6, 9, 64, 128), jnp.float32)
    run = jax.jit(functools.partial(native_run, OPS["lstm"], StepMask()))
    want = jax.tree.map(np.asarray, run(operands))
    with ThreadPoolExecutor(16) as pool:
        for got in pool.map(lambda _: run(operands), range(200)):
            assert_near(got, want, 1e-6)


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_ten_thousand_calls_leak_nothing():
    step = compiled_step()
    for _ in range(500):
        step()
    before = resident_bytes()
    for _ in range(10_000):
        step()
    assert resident_bytes() - before < 4 << 20  # 400 bytes a call


def test_the_workspace_is_kept_bounded_and_given_back():
    library = _native.library()
    release_workspace()
    assert library.jaxrnn_workspace_kept() == 0
    step = compiled_step()
    step()
    kept = library.jaxrnn_workspace_kept()
    assert kept > 0
    step()
    assert library.jaxrnn_workspace_kept() == kept, "the second call found the first's"
    try:
        library.jaxrnn_workspace_limit(0)
        step()
        assert library.jaxrnn_workspace_kept() == 0
    finally:
        library.jaxrnn_workspace_limit(512 << 20)
    release_workspace()
    assert library.jaxrnn_workspace_kept() == 0
