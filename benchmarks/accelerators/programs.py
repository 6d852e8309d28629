"""The programs that are compiled: cells, strategies and sizes."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractDevice, AbstractMesh

import jaxrnn
from jaxrnn import (
    GLA,
    GRU,
    LSTM,
    RGLRU,
    Associative,
    Auto,
    Checkpointed,
    Chunked,
    Elman,
    Fused,
    GatedDeltaNet,
    Hoisted,
    ParaGRU,
    Scan,
    Stack,
    Wavefront,
)
from jaxrnn.strategies import on_platform


TIME, BATCH, SIZE = 1024, 16, 768
"""The size of the programs whose memory and loops are checked; input and hidden size."""

SMALL = (64, 8)
"""T and B of the programs that only have to compile."""


_GPU = "NVIDIA H100 80GB HBM3"
"""The model of the GPU in `h100.txtpb`, as its driver names it; it has 132 multiprocessors."""


@dataclass(frozen=True)
class Case:
    """One program: a layer under a strategy, with or without gradients.

    `platform` is the platform that the strategy plans for; empty leaves it to the lowering.
    `label` replaces the name of the cell.
    """

    layer: Any
    strategy: Any
    dtype: str = "float32"
    backward: bool = True
    size: tuple[int, int] = SMALL
    platform: str = ""
    label: str = ""

    @property
    def cell(self) -> str:
        return self.label or type(self.layer).__name__

    @property
    def name(self) -> str:
        what = "forward and backward" if self.backward else "forward"
        return f"{self.cell} {self.dtype} {self.strategy} {what}"

    def function(self) -> Callable:
        """`(params, xs) -> (state, ys)`, or `(params, xs, d_ys) -> (ys, gradients)`."""

        def run(params, xs):
            planned = on_platform(self.platform) if self.platform else nullcontext()
            with planned:
                return jaxrnn.unroll(self.layer, params, xs, strategy=self.strategy)

        # the gradient of ys is an argument, so that temporary memory holds nothing of a loss
        def with_gradients(params, xs, d_ys):
            ys, pull = jax.vjp(lambda *given: run(*given)[1], params, xs)
            return ys, pull(d_ys)

        return with_gradients if self.backward else run

    def lowering(self) -> AbstractContextManager:
        """A context to lower it in: Pallas asks for the model of a GPU while it lowers."""
        if self.platform != "gpu":
            return nullcontext()
        device = AbstractDevice(_GPU, 132, "gpu")
        mesh = AbstractMesh((1,), ("device",), abstract_device=device)
        return jax.sharding.use_abstract_mesh(mesh)

    def arguments(self) -> tuple[Any, ...]:
        """Shapes and dtypes of the function's arguments; nothing is computed."""
        dtype = jnp.dtype(self.dtype)
        init = lambda: jaxrnn.cast(self.layer.init(jax.random.key(0)), dtype)
        params = jax.eval_shape(init)
        first: Any = self.layer
        first = first.layers[0] if isinstance(first, Stack) else first
        xs = jax.ShapeDtypeStruct((*self.size, first.input_size), dtype)
        if not self.backward:
            return params, xs
        run = lambda params, xs: jaxrnn.unroll(self.layer, params, xs)[1]
        return params, xs, jax.eval_shape(run, params, xs)


def one_of_each_class() -> list[Any]:
    """The first row of every cell class of the library in the table of the tests."""
    found: dict[type, Any] = {}
    # by name: type checkers would check the tests as well
    for cell in importlib.import_module("tests.helpers").CELLS:
        if type(cell).__module__.startswith("jaxrnn.cells"):
            found.setdefault(type(cell), cell)
    return list(found.values())


def small_cases(kind: str, reference: bool, brief: bool) -> Iterator[Case]:
    """Every cell under `Auto`, and one of each kind of cell under all strategies.

    Args:
        kind: the platform, as `explain` names it.
        reference: whether every cell is compiled under `Scan` as well.
        brief: for a GPU, whose compiler is the slowest, leaves out every cell under `Auto`.
    """
    for cell in () if brief and kind == "gpu" else one_of_each_class():
        yield Case(cell, Auto())
        linear = isinstance(cell, jaxrnn.LinearCell | jaxrnn.MatrixCell)
        strategies = [Chunked() if linear else Hoisted(), *([Scan()] * reference)]
        chosen = _chosen(cell, kind)
        yield from (Case(cell, each) for each in strategies if each != chosen)
    for cell, under in _OF_EACH_KIND:
        yield from (Case(cell, each) for each in under)


def _chosen(cell: Any, kind: str) -> Any:
    """The strategy that `Auto` takes, which need not be compiled a second time."""
    shape = (*SMALL, cell.input_size)
    (decision,) = jaxrnn.explain(cell, shape, platform=kind).decisions
    return decision.choice.strategy


_OF_EACH_KIND: tuple[tuple[Any, tuple], ...] = (
    (LSTM(3, 5), (Scan(), Checkpointed())),
    (RGLRU(4, heads=2), (Scan(), Hoisted(), Associative(), Checkpointed())),
    (jaxrnn.S5(3, 4, blocks=2), (Scan(), Associative())),
    (GatedDeltaNet(3, 4, heads=2), (Scan(), Hoisted(), Checkpointed())),
    (Stack((LSTM(3, 5), LSTM(5, 5))), (Wavefront(),)),
    (ParaGRU(3, 5), (jaxrnn.Newton(),)),
    (Elman(3, 5), (jaxrnn.Newton(),)),
)


def kernel_cases(kind: str, sizes: bool) -> Iterator[Case]:
    """`Fused` of every cell that it runs on this platform; GPUs take 64 units and more.

    Args:
        kind: the platform, as `explain` names it.
        sizes: whether LSTMs of 128 and 2048 units are compiled as well, for a TPU.
    """
    for cell in one_of_each_class() if kind == "tpu" else _BY_UNIT:
        if not isinstance(cell, jaxrnn.MatrixCell):
            label = str(cell) if kind == "gpu" else ""
            yield Case(cell, Fused(), platform=kind, label=label)
    for units, dtype in product((128, 2048), DTYPES) if sizes else ():
        label = f"LSTM of {units} units, {dtype}"
        yield Case(LSTM(units, units), Fused(), dtype, platform=kind, label=label)


_BY_UNIT = (
    LSTM(64, 64),
    LSTM(64, 64, coupled=True),
    GRU(64, 64),
    GRU(64, 64, reset_after=False),
    Elman(64, 64),
    jaxrnn.MGU(64, 64),
    jaxrnn.PeepholeLSTM(64, 64),
    jaxrnn.IndRNN(64, 64),
)


def bundle_cases() -> Iterator[Case]:
    """The programs whose bundles are counted: an LSTM in bfloat16."""
    cell, size = LSTM(SIZE, SIZE), (TIME, BATCH)
    for strategy, platform in ((Scan(), ""), (Hoisted(), ""), (Fused(), "tpu")):
        yield Case(cell, strategy, "bfloat16", size=size, platform=platform)


def large_cases(linear: bool, brief: bool) -> Iterator[Case]:
    """The programs whose memory, loops and weights are checked.

    Args:
        linear: also linear and matrix cells, under `Chunked`.
        brief: only LSTM, and not the forward pass alone.
    """
    size = (TIME, BATCH)
    dense = (LSTM(SIZE, SIZE), *(() if brief else (GRU(SIZE, SIZE),)))
    for cell, dtype, strategy in product(dense, DTYPES, (Scan(), Hoisted())):
        yield Case(cell, strategy, dtype, size=size)
    for dtype, strategy in () if brief else product(DTYPES, (Scan(), Hoisted())):
        yield Case(dense[0], strategy, dtype, False, size)
    for cell, strategy in product(_LINEAR if linear else (), (Scan(), Chunked())):
        yield Case(cell, strategy, size=size)


DTYPES = ("float32", "bfloat16")

_LINEAR = (
    RGLRU(SIZE, heads=8),
    GLA(SIZE, SIZE, heads=6),
    GatedDeltaNet(SIZE, SIZE, heads=6),
)
