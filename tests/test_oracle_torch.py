"""jaxrnn equals PyTorch: outputs, final states, and the gradient of every weight.

The golden files hold the results of torch 2.13.0, so this runs without torch; where torch
is installed, more shapes are compared live.
"""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn

from .torch_weights import (
    gradients_to_torch,
    layer_from_torch,
    params_from_torch,
    state_from_torch,
    state_to_torch,
)


# Listed one by one, so that a missing file fails.
GOLDEN = [
    f"{mode}-{variant}"
    for mode in ("rnn_tanh", "rnn_relu", "lstm", "gru")
    for variant in ("one", "two", "bidirectional", "packed")
] + ["lstm-projected", "lstm-projected-deep"]

# Sizes at which code often fails: one step, one sequence, one feature, an odd number of
# units, many steps, every sequence shorter than T.
_SHORT = {"time": 1, "batch": 4, "inputs": 1, "hidden": 17}
_LONG = {"time": 33, "batch": 1, "inputs": 3, "hidden": 17}
_PACKED = {"time": 10, "batch": 5, "inputs": 9, "lengths": (1, 9, 9, 2, 5)}
LIVE = {
    "rnn_tanh short": {"mode": "RNN_TANH", **_SHORT},
    "rnn_relu long": {"mode": "RNN_RELU", **_LONG},
    "lstm long": {"mode": "LSTM", **_LONG},
    "gru packed": {"mode": "GRU", **_PACKED},
}
CASES = GOLDEN + list(LIVE if importlib.util.find_spec("torch") else ())
EACH_CELL = [name for name in GOLDEN if name.endswith(("-one", "-deep"))]

SCAN, CHUNKS = jaxrnn.Scan(), jaxrnn.Checkpointed(every=3)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("strategy", [SCAN, CHUNKS], ids=str)
def test_float64(name, strategy, x64):
    _check(_expected(name), strategy, np.float64, 1e-12)


# A strategy sees single cells, not stacks, so in the second dtype the chunks, which compile
# slowly, run each cell once.
@pytest.mark.parametrize(
    ("strategy", "name"),
    [(SCAN, name) for name in CASES] + [(CHUNKS, name) for name in EACH_CELL],
    ids=str,
)
def test_float32(name, strategy):
    # Some devices round the operands of a float32 matmul by default.
    with jax.default_matmul_precision("highest"):
        _check(_expected(name), strategy, np.float32, 1e-5)


def _expected(name):
    if name not in LIVE:
        with np.load(Path(__file__).parent / "golden" / f"{name}.npz") as arrays:
            return dict(arrays)
    from .golden.make import Case, reference

    return reference(name, Case(**LIVE[name]))


def _check(expected, strategy, dtype, tolerance):
    got = _answer(expected, strategy, dtype)
    names = {k for k in expected if k.startswith("grad.")} | {"y", "h_n"}
    assert set(got) == names | ({"c_n"} if "c_0" in expected else set())
    for key, value in got.items():
        want = expected[key]
        assert (value.dtype, value.shape) == (dtype, want.shape), key
        error = np.max(np.abs(np.asarray(value) - want)) / np.max(np.abs(want))
        assert error <= tolerance, f"{key}: relative error {error:.1e}"


def _answer(expected, strategy, dtype):
    """jaxrnn's results for the inputs in `expected`, under the same names."""
    mode = str(expected["mode"])
    given = {k: v.astype(dtype) for k, v in expected.items() if v.dtype == np.float64}
    weights = {k: v for k, v in given.items() if k.startswith(("weight_", "bias_"))}
    leaves = (
        params_from_torch(mode, weights),
        given["x"],
        state_from_torch(weights, given["h_0"], given.get("c_0")),
    )
    cotangents = {k.removeprefix("ct."): v for k, v in given.items() if "ct." in k}
    layer = layer_from_torch(mode, weights)
    lengths = expected.get("lengths")
    return _run(layer, weights, leaves, lengths, cotangents, strategy)


@jax.jit
def _run(layer, weights, leaves, lengths, cotangents, strategy):
    def loss(leaves):
        state, y = jaxrnn.unroll(layer, *leaves, lengths=lengths, strategy=strategy)
        results = {"y": y} | _by_name("h_n", "c_n", state)
        return sum(jnp.sum(results[k] * ct) for k, ct in cotangents.items()), results

    (d_params, d_x, d_state), results = jax.grad(loss, has_aux=True)(leaves)
    gradients = {
        "x": d_x,
        **_by_name("h_0", "c_0", d_state),
        **gradients_to_torch(weights, d_params),
    }
    return results | {f"grad.{key}": value for key, value in gradients.items()}


def _by_name(h, c, state):
    return dict(zip((h, c), state_to_torch(state), strict=False))
