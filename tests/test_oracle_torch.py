"""jaxrnn answers as PyTorch does: outputs, final states, and the gradient of every weight.

The golden files hold what torch 2.13.0 answered, so this runs without torch; where torch
is installed, it is asked about more shapes.
"""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_weights import (
    gradients_to_torch,
    layer_from_torch,
    params_from_torch,
    state_from_torch,
    state_to_torch,
)

import jaxrnn


# Named one by one, so that a file that is missing fails.
GOLDEN = [
    f"{mode}-{variant}"
    for mode in ("rnn_tanh", "rnn_relu", "lstm", "gru")
    for variant in ("one", "two", "bidirectional", "packed")
] + ["lstm-projected", "lstm-projected-packed"]

# Sizes at which code goes wrong: one step, one row, one feature, an odd number of units,
# many steps, many layers.
_LONG = {"time": 33, "batch": 1, "inputs": 3, "hidden": 17}
_SHORT = {"time": 1, "batch": 4, "inputs": 1, "hidden": 17, "layers": 3}
_MIXED = {"time": 10, "batch": 5, "inputs": 7, "hidden": 6, "bidirectional": True}
LIVE = {
    "rnn_tanh long": {"mode": "RNN_TANH", **_LONG},
    "rnn_relu short": {"mode": "RNN_RELU", **_SHORT, "bidirectional": True},
    "lstm long": {"mode": "LSTM", **_LONG},
    "lstm short": {"mode": "LSTM", **_SHORT, "projection": 5},
    "gru long": {"mode": "GRU", **_LONG},
    "gru short": {"mode": "GRU", **_SHORT},
    "gru mixed": {"mode": "GRU", **_MIXED, "lengths": (1, 9, 9, 2, 5)},
}
CASES = GOLDEN + list(LIVE if importlib.util.find_spec("torch") else ())

STRATEGIES = [jaxrnn.Scan(), jaxrnn.Checkpointed(every=3)]
every_case = pytest.mark.parametrize("name", CASES)
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=str)


@every_case
@every_strategy
def test_float64(name, strategy, x64):
    _check(_expected(name), strategy, np.float64, 1e-12)


@every_case
@every_strategy
def test_float32(name, strategy):
    # Some devices round the factors of a float32 product unless told not to.
    with jax.default_matmul_precision("highest"):
        _check(_expected(name), strategy, np.float32, 1e-5)


def _expected(name):
    if name not in LIVE:
        with np.load(Path(__file__).parent / "golden" / f"{name}.npz") as arrays:
            return dict(arrays)
    from golden.make import Case, reference

    return reference(name, Case(**LIVE[name]))


def _check(expected, strategy, dtype, tolerance):
    got = _answer(expected, strategy, dtype)
    names = {k for k in expected if k.startswith("grad.")} | {"y", "h_n"}
    assert set(got) == names | ({"c_n"} if "c_0" in expected else set())
    for key, value in got.items():
        want = expected[key]
        assert (value.dtype, value.shape) == (dtype, want.shape), key
        error = np.max(np.abs(value - want)) / np.max(np.abs(want))
        assert error <= tolerance, f"{key}: relative error {error:.1e}"


def _answer(expected, strategy, dtype):
    """What jaxrnn answers to the question in `expected`, by the same names."""
    mode = str(expected["mode"])
    lengths = expected.get("lengths")
    given = {k: v.astype(dtype) for k, v in expected.items() if v.dtype == np.float64}
    weights = {k: v for k, v in given.items() if k.startswith(("weight_", "bias_"))}
    leaves = (
        params_from_torch(mode, weights),
        given["x"],
        state_from_torch(weights, given["h_0"], given.get("c_0")),
    )
    cotangents = given["ct.y"], [given[k] for k in ("ct.h_n", "ct.c_n") if k in given]
    layer = layer_from_torch(mode, weights)
    gradients, (final, y) = _gradients(layer, leaves, lengths, cotangents, strategy)
    d_params, d_x, d_state = gradients
    answer = {
        "y": y,
        **dict(zip(("h_n", "c_n"), final, strict=False)),
        "grad.x": d_x,
        **dict(zip(("grad.h_0", "grad.c_0"), state_to_torch(d_state), strict=False)),
    }
    by_name = gradients_to_torch(weights, d_params)
    return answer | {f"grad.{k}": v for k, v in by_name.items()}


@jax.jit
def _gradients(layer, leaves, lengths, cotangents, strategy):
    def loss(leaves):
        state, y = jaxrnn.unroll(layer, *leaves, lengths=lengths, strategy=strategy)
        final = state_to_torch(state)
        parts = jax.tree.map(
            lambda a, ct: jnp.sum(a * ct), (y, list(final)), cotangents
        )
        return sum(jax.tree.leaves(parts)), (final, y)

    return jax.grad(loss, has_aux=True)(leaves)
