"""PyTorch: `nn.LSTM`, `nn.GRU` and `nn.RNN`, on oneDNN or cuDNN where it picks them.

Chosen: time-major inputs, its default; `inference_mode` and `eval` for forward;
`backward()` after setting the gradients to None; `Adam(fused=True)`, its fastest; packed
sequences for variable lengths, packed within the call, since every batch needs it, and
sorted by length, which saves PyTorch the sorting; for single steps `LSTMCell`, `GRUCell`
and `RNNCell`, which take a fraction of the time of the layers with T = 1. Threads and
precisions are PyTorch's defaults: on a GPU, cuDNN may use TF32. Nothing is compiled, since
`torch.compile` does not support its RNNs.

PyTorch adds two biases. The second is zero here, except for the GRU's b_n.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch._dynamo  # otherwise the first optimizer of each case would import it
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..cases import Case
from ..problem import Array, Cell, Position, Problem, positions
from ..verify import RATE, Answer
from ._base import Peer, Program


_LAYERS: dict[str, Callable[..., Any]] = {
    "lstm": torch.nn.LSTM,
    "gru": torch.nn.GRU,
    "elman": torch.nn.RNN,
    "elman_relu": torch.nn.RNN,
}
_CELLS: dict[str, Callable[..., Any]] = {
    "lstm": torch.nn.LSTMCell,
    "gru": torch.nn.GRUCell,
    "elman": torch.nn.RNNCell,
    "elman_relu": torch.nn.RNNCell,
}


class TorchPeer(Peer):
    """PyTorch."""

    title = "PyTorch"
    distribution = "torch"
    spins = True  # OpenMP's threads

    def computes(self, case: Case) -> Case:
        if case.kind not in _LAYERS:
            raise NotImplementedError("no such cell, and no scan for a custom cell")
        return case

    def build(self, case: Case, problem: Problem) -> "TorchProgram":
        return TorchProgram(case, problem)


class TorchProgram(Program):
    """One case, on the GPU if there is one."""

    def __init__(self, case: Case, problem: Problem) -> None:
        self.case = case
        self.compile_seconds = {}
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = getattr(torch, case.dtype)
        self.lengths = None
        if problem.lengths is not None:
            self.lengths = torch.tensor(problem.lengths, dtype=torch.int64)
        self.xs, self.cotangents = (
            self._tensor(problem.xs),
            self._tensor(problem.cotangents),
        )
        self.leaf = self._tensor(problem.xs).requires_grad_()
        self.net = self._net(problem.cells)
        self.trained = self._net(problem.cells)
        self.optimizer = torch.optim.Adam(self.trained.parameters(), RATE, fused=True)
        if case.single_steps:
            self._prepare_stream(problem.cells)

    def _tensor(self, a: Any) -> Any:
        return torch.tensor(a, dtype=self.dtype, device=self.device)

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"dtype": self.dtype, "device": self.device}
        if self.case.kind == "elman_relu":
            options["nonlinearity"] = "relu"
        return options

    def _net(self, cells: list[Cell]) -> Any:
        case = self.case
        net = _LAYERS[case.kind](
            case.inputs,
            case.hidden,
            num_layers=case.layers,
            bidirectional=case.bidirectional,
            **self._options(),
        )
        with torch.no_grad():
            for position, cell in zip(positions(case), cells, strict=True):
                for name, value in _pack(cell).items():
                    getattr(net, f"{name}_{_suffix(position)}").copy_(
                        self._tensor(value)
                    )
        return net

    def _prepare_stream(self, cells: list[Cell]) -> None:
        case = self.case
        self.cell = _CELLS[case.kind](case.inputs, case.hidden, **self._options())
        with torch.no_grad():
            for name, value in _pack(cells[0]).items():
                getattr(self.cell, name).copy_(self._tensor(value))
        zero = torch.zeros(1, case.hidden, dtype=self.dtype, device=self.device)
        self.start = (zero, zero) if case.kind == "lstm" else zero
        self.carry = self.start

    def _apply(self, net: Any, xs: Any) -> tuple[Any, Any]:
        if self.lengths is None:
            ys, state = net(xs)
        else:
            packed, state = net(pack_padded_sequence(xs, self.lengths))
            ys, _ = pad_packed_sequence(packed, total_length=self.case.time)
        h = state[0] if self.case.kind == "lstm" else state
        return h[-self.case.directions], ys

    def _loss(self, net: Any, xs: Any) -> Any:
        _, ys = self._apply(net.train(), xs)
        return (ys * self.cotangents).sum()

    def run(self, figure: str) -> None:
        getattr(self, f"_run_{figure}")()
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _run_forward(self) -> tuple[Any, Any]:
        with torch.inference_mode():
            return self._apply(self.net.eval(), self.xs)

    def _run_backward(self) -> None:
        self.net.zero_grad(set_to_none=True)
        self.leaf.grad = None
        self._loss(self.net, self.leaf).backward()

    def _run_update(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self._loss(self.trained, self.xs).backward()
        self.optimizer.step()

    def _run_stream(self) -> None:
        with torch.inference_mode():
            self.carry = self.cell(self.xs[0], self.carry)

    def answer(self) -> Answer:
        h, ys = self._run_forward()
        self._run_backward()
        d_cells = self._cells(self.net, lambda weight: weight.grad)
        return Answer(_numpy(ys), _numpy(h), _numpy(self.leaf.grad), d_cells)

    def updated(self) -> tuple[list[Cell], list[Cell]]:
        before = self._cells(self.trained)
        self._run_update()
        return before, self._cells(self.trained)

    def streamed(self, steps: int) -> Array:
        carry, ys = self.start, []
        with torch.inference_mode():
            for x in self.xs[:steps]:
                carry = self.cell(x, carry)
                h = carry[0] if self.case.kind == "lstm" else carry
                ys.append(_numpy(h)[0])
        return np.stack(ys)

    def _cells(self, net: Any, of: Callable[[Any], Any] = lambda w: w) -> list[Cell]:
        cells = []
        for position in positions(self.case):
            weights = {
                name: _numpy(of(getattr(net, f"{name}_{_suffix(position)}")))
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
            cells.append(_unpack(weights, self.case))
        return cells


def _suffix(position: Position) -> str:
    return f"l{position.layer}{'_reverse' if position.direction else ''}"


def _pack(cell: Cell) -> Cell:
    second = np.zeros_like(cell["b"])
    if "b_n" in cell:
        second[-len(cell["b_n"]) :] = cell["b_n"]
    return {
        "weight_ih": cell["w"].T,
        "weight_hh": cell["u"].T,
        "bias_ih": cell["b"],
        "bias_hh": second,
    }


def _unpack(weights: Cell, case: Case) -> Cell:
    # Both biases have the gradient of their sum, except for the part that is b_n.
    cell = {
        "w": weights["weight_ih"].T,
        "u": weights["weight_hh"].T,
        "b": weights["bias_ih"],
    }
    if case.kind == "gru":
        cell["b_n"] = weights["bias_hh"][-case.hidden :]
    return cell


def _numpy(tensor: Any) -> Array:
    return np.array(tensor.detach().float().cpu())


PEER = TorchPeer()
