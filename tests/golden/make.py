"""Writes the golden files of this folder: the results of PyTorch's RNNs, in float64.

Run it with torch 2.13.0:

    python tests/golden/make.py

It is deterministic: every number comes from NumPy's generator, seeded by the name of the
file, and torch computes on one thread. Running it again writes the same bytes on the same
machine, and the same numbers to rounding on another.

A file holds, under these names,

    mode                          torch's name of the recurrence, such as "GRU"
    weight_ih_l0, bias_hh_l0, ... the weights, by torch's own names and layouts
    x, h_0, c_0                   inputs (T, B, I) and states (layers * directions, B, H)
    lengths                       (B,), where the sequences were packed
    y, h_n, c_n                   the outputs, zero past the lengths, and final states
    ct.y, ct.h_n, ct.c_n          cotangents: the loss is the sum of each times its own
    grad.NAME                     gradient of the loss by each weight, x, h_0 and c_0

with `c_0`, `c_n` and `ct.c_n` for the LSTM only.
"""

import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch


class Case(NamedTuple):
    """One network and its input."""

    mode: str
    layers: int = 1
    bidirectional: bool = False
    projection: int = 0
    time: int = 7
    batch: int = 3
    inputs: int = 5
    hidden: int = 4
    lengths: tuple[int, ...] | None = None


# Unsorted, and all shorter than T: packing sorts and shortens, and both must be undone.
_PACKED = {"bidirectional": True, "lengths": (4, 6, 1)}
_VARIANTS = {
    "one": {},
    # 6 steps are two chunks of three; the 7 of the other variants leave a shorter last chunk.
    "two": {"layers": 2, "time": 6},
    "bidirectional": {"bidirectional": True, "time": 6},
    "packed": _PACKED,
}
CASES = {
    f"{mode.lower()}-{variant}": Case(mode, **options)
    for mode in ("RNN_TANH", "RNN_RELU", "LSTM", "GRU")
    for variant, options in _VARIANTS.items()
} | {
    "lstm-projected": Case("LSTM", projection=3),
    "lstm-projected-deep": Case("LSTM", projection=3, layers=2, **_PACKED),
}


def reference(name: str, case: Case) -> dict[str, np.ndarray]:
    """Everything that a golden file holds; `name` seeds the numbers."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    rnn = _rnn(case)
    leaves = {**dict(rnn.named_parameters()), **_inputs(case)}
    for leaf in leaves.values():
        # The range of torch's initial weights, for every weight and bias.
        values = rng.uniform(-1, 1, tuple(leaf.shape))
        bound = 1.0 if leaf.ndim == 3 else case.hidden**-0.5
        leaf.data = torch.from_numpy(bound * values)
        leaf.requires_grad_()
    results = _outputs(case, rnn, leaves)
    cotangents = {
        f"ct.{key}": torch.from_numpy(rng.uniform(-1, 1, tuple(value.shape)))
        for key, value in results.items()
    }
    sum((results[k] * cotangents[f"ct.{k}"]).sum() for k in results).backward()
    gradients = {f"grad.{key}": leaf.grad for key, leaf in leaves.items()}
    tensors = leaves | results | cotangents | gradients
    arrays = {key: t.detach().numpy() for key, t in tensors.items()}
    if case.lengths is not None:
        arrays["lengths"] = np.asarray(case.lengths, np.int32)
    return {"mode": np.asarray(case.mode)} | arrays


def _rnn(case):
    kind, _, nonlinearity = case.mode.partition("_")
    options = {"nonlinearity": nonlinearity.lower()} if nonlinearity else {}
    if case.projection:
        options["proj_size"] = case.projection
    return getattr(torch.nn, kind)(
        case.inputs,
        case.hidden,
        case.layers,
        bidirectional=case.bidirectional,
        dtype=torch.float64,
        **options,
    )


def _inputs(case):
    rows = case.layers * (1 + case.bidirectional)
    output = case.projection or case.hidden
    leaves = {
        "x": torch.zeros(case.time, case.batch, case.inputs, dtype=torch.float64),
        "h_0": torch.zeros(rows, case.batch, output, dtype=torch.float64),
    }
    if case.mode == "LSTM":
        leaves["c_0"] = torch.zeros(rows, case.batch, case.hidden, dtype=torch.float64)
    return leaves


def _outputs(case, rnn, leaves):
    x, state = leaves["x"], leaves["h_0"]
    if case.mode == "LSTM":
        state = (state, leaves["c_0"])
    if case.lengths is not None:
        lengths = torch.tensor(case.lengths)
        x = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    y, state = rnn(x, state)
    if case.lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=case.time)
    final = state if case.mode == "LSTM" else (state,)
    return {"y": y} | dict(zip(("h_n", "c_n"), final, strict=False))


def main() -> None:
    """Writes one file per case, next to this script."""
    torch.set_num_threads(1)
    for name, case in CASES.items():
        path = Path(__file__).with_name(f"{name}.npz")
        np.savez_compressed(path, **reference(name, case))


if __name__ == "__main__":
    main()
