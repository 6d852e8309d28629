"""`Fused()` for a TPU, in a simulator of TPU memory: values, gradients, races, refusals.

The simulator runs the kernels on a CPU. It fills memory with NaN before it is used, delays
each copy until the kernel waits for it, and reports races.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

import jaxrnn
from jaxrnn import GRU, LRU, LSTM, MGU, SLSTM, Fused, MinGRU, ProjectedLSTM, Scan
from jaxrnn.kernels.pallas_tpu import _scan
from jaxrnn.strategies import on_platform
from jaxrnn.testing._case import case_of

from .helpers import CELLS, MATRIX, each


SIMULATOR = pltpu.InterpretParams(
    detect_races=True, dma_execution_mode="on_wait", uninitialized_memory="nan"
)
TIME, BATCH = 7, 3

ROWS = [cell for cell in CELLS if cell not in MATRIX]
FEW = [LSTM(3, 5), GRU(3, 5, reset_after=False), SLSTM(3, 4, heads=2), LRU(3, 4)]


def own_cell():
    """The cell that the README writes."""
    text = (Path(__file__).parents[1] / "README.md").read_text()
    (block,) = re.findall(r"```python\n(# my_cell.py.*?)```", text, re.DOTALL)
    names = {}
    exec(block, names)
    return names["MyCell"](3, 4)


def gradients(cell, strategy, dtype=jnp.float32, **options):
    """Outputs, and the gradients of a weighted sum of them."""
    key = jax.random.key(0)
    params = jaxrnn.cast(cell.init(key), dtype)
    size = case_of(cell, {}).xs.shape[-1]
    xs = jax.random.normal(jax.random.key(1), (TIME, BATCH, size)).astype(dtype)
    one = cell.initial_state(params)
    state = jax.tree.map(lambda s: 0.1 + jnp.stack([s] * BATCH), one)
    for t, b in options.pop("spoilt", ()):
        xs = xs.at[t, b].set(jnp.nan)

    def loss(params, state, xs):
        out = jaxrnn.unroll(cell, params, xs, state, strategy=strategy, **options)
        weights = lambda y: jnp.sin(1.0 + jnp.arange(y.size, dtype=jnp.float32))
        real = lambda y: (y.real + y.imag).astype(jnp.float32).ravel()
        return sum(weights(y) @ real(y) for y in jax.tree.leaves(out)), out

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    return run(params, state, xs)


def assert_same(got, want, tolerance):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        a, b = (np.asarray(x).astype(complex) for x in (a, b))
        if b.size:
            assert np.max(np.abs(a - b)) <= tolerance * max(1, np.max(np.abs(b)))


def simulated(cell, *args, **options):
    with on_platform("tpu", simulator=SIMULATOR):
        return gradients(cell, Fused(), *args, **options)


def masks():
    """Lengths with a 0, gaps and resets, and NaN in the padding."""
    return {
        "lengths": jnp.array([TIME, 0, 4]),
        "mask": jax.random.bernoulli(jax.random.key(2), 0.8, (TIME, BATCH)),
        "resets": jax.random.bernoulli(jax.random.key(3), 0.3, (TIME, BATCH)),
        "spoilt": [(0, 1), (5, 2)],
    }


@each("cell", ROWS, FEW)
def test_values_and_gradients_equal_the_scan(cell, capfd):
    assert_same(simulated(cell, **masks()), gradients(cell, Scan(), **masks()), 2e-6)
    assert "RACE" not in capfd.readouterr().out


@each("cell", [own_cell(), ProjectedLSTM(3, 5, 2), MGU(3, 5), MinGRU(3, 4)])
def test_without_masks(cell):
    assert_same(simulated(cell), gradients(cell, Scan()), 2e-6)


def test_bfloat16():
    """Sums are in float32, so that the kernel is at least as accurate as the scan."""
    wide = gradients(LSTM(3, 5), Scan(), jnp.float32)
    got = simulated(LSTM(3, 5), jnp.bfloat16)
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(got[1]))
    floats = jax.tree.map(lambda x: x.astype(jnp.float32), got)
    assert_same(floats, wide, 0.05)


def test_blocks_of_time(monkeypatch):
    """Several blocks in a kernel, the last one shorter, and several kernels in a call."""
    monkeypatch.setattr("jaxrnn.kernels.pallas_tpu._vmem._MOST", 3)
    monkeypatch.setattr("jaxrnn.strategies.fused._tpu._BYTES", 5 * 3 * 20 * 4)
    want = gradients(LSTM(3, 5), Scan(), reverse=True)
    assert_same(simulated(LSTM(3, 5), reverse=True), want, 2e-6)


def test_a_planted_race_is_found(monkeypatch, capfd):
    """Blocks of time on two cores, in any order: each needs the carry of the other."""
    monkeypatch.setattr(_scan, "_ORDER", ("parallel",))
    monkeypatch.setattr("jaxrnn.kernels.pallas_tpu._vmem._MOST", 2)
    two = pltpu.InterpretParams(detect_races=True, num_cores_or_threads=2)
    with on_platform("tpu", simulator=two):
        try:  # newer versions of JAX raise an error, older ones print a line
            jax.block_until_ready(gradients(GRU(3, 4), Fused()))
            found = capfd.readouterr().out
        except Exception as error:
            found = str(error)
    assert "RACE DETECTED" in found


def test_every_derivative_and_vmap():
    """Forward mode differentiates the plain scan; vmap becomes an axis of the grid."""
    cell = GRU(3, 4)
    params, xs = cell.init(jax.random.key(0)), jnp.ones((2, TIME, BATCH, 3))

    def run(strategy):
        loss = lambda p, x: jaxrnn.unroll(cell, p, x, strategy=strategy)[1].sum()
        vmapped = jax.vmap(jax.grad(loss), (None, 0))(params, xs)
        tangent = jax.jvp(lambda x: loss(params, x), (xs[0],), (xs[1],))
        return vmapped, tangent

    with on_platform("tpu", simulator=SIMULATOR):
        got = run(Fused())
    assert_same(got, run(Scan()), 2e-6)


def lowered(cell, strategy):
    params = cell.init(jax.random.key(0))
    run = lambda p, xs: jaxrnn.unroll(cell, p, xs, strategy=strategy)[1].sum()
    with on_platform("tpu"):
        traced = jax.jit(jax.grad(run)).trace(params, jnp.ones((TIME, BATCH, 3)))
        return traced.lower(lowering_platforms=("tpu",)).as_text()


def test_two_kernels_are_lowered():
    assert lowered(LSTM(3, 4), Fused()).count("tpu_custom_call") == 2
    assert "tpu_custom_call" not in lowered(LSTM(3, 4), jaxrnn.Auto())


def test_explain_says_on_which_evidence():
    by_name = jaxrnn.explain(
        LSTM(3, 4), (5, 2, 3), strategy=Fused(), platform="tpu"
    ).decisions[0]
    assert "compiled for TPU and simulated, but never timed on one" in by_name.how
    text = str(jaxrnn.explain(LSTM(3, 4), (5, 2, 3), platform="tpu"))
    assert "Hoisted()" in text and "never timed" in text


@dataclass(frozen=True)
class Sorts(jaxrnn.Cell):
    """A cell whose step the compiler of TPU kernels does not know."""

    input_size: int = 3

    def init(self, key):
        return ()

    def initial_state(self, params):
        return jnp.zeros(self.input_size)

    def recur(self, params, state, z):
        return jnp.sort(state + z)


@each(
    "cell, reason",
    [
        (jaxrnn.GLA(3, 4), "its state is a matrix; Chunked()"),
        (Sorts(), "cannot lower its step: .*sort"),
        (LSTM(3, 16384), "MiB of VMEM, and 120 MiB can be used"),
    ],
)
def test_refusals(cell, reason):
    with pytest.raises(NotImplementedError, match=reason):
        jaxrnn.explain(cell, (5, 2, 3), strategy=Fused(), platform="tpu")


def test_another_platform_is_refused_in_words():
    with pytest.raises(ValueError, match='"cpu", "gpu" or "tpu"'), on_platform("cuda"):
        pass


def test_a_simulator_is_refused_for_other_platforms():
    with (
        pytest.raises(ValueError, match="only kernels for"),
        on_platform("gpu", simulator=SIMULATOR),
    ):
        pass


XS = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
WORLD = {
    "booleans": (XS > 0, "float32", {}),
    "integers": ((3 * XS).astype(np.int32), "float32", {}),
    "NumPy": (XS, "float32", {}),
    "float16": (XS.astype(np.float16), "float16", {}),
    "one step": (XS[:1], "float32", {}),
    "one sequence": (XS[:, :1], "float32", {}),
    "NaN before a reset": (
        np.where([[[True]], [[False]]] * 2, np.nan, XS),
        "float32",
        {"resets": np.array([[False] * 2, [True] * 2] * 2)},
    ),
}


@each("kind", list(WORLD))
def test_inputs_of_every_kind(kind):
    xs, dtype, options = WORLD[kind]
    params = jaxrnn.cast(LSTM(3, 4).init(jax.random.key(0)), dtype)
    run = lambda s: jaxrnn.unroll(LSTM(3, 4), params, xs, strategy=s, **options)
    with jax.numpy_dtype_promotion("standard"):  # as users have it
        want = run(Scan())
        with on_platform("tpu", simulator=SIMULATOR):
            got = run(Fused())
    keep = lambda out: jax.tree.map(jnp.nan_to_num, out)
    assert_same(jax.tree.map(jnp.isnan, got), jax.tree.map(jnp.isnan, want), 0)
    assert_same(keep(got), keep(want), 2e-6)
