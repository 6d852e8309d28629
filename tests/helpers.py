"""The tables that the laws run over. Each new cell, layer or strategy adds a row."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import Array, Float

import jaxrnn
from jaxrnn import (
    CTRNN,
    GLA,
    GRU,
    LRU,
    LSTM,
    MGU,
    MLSTM,
    QRNN,
    RGLRU,
    S5,
    SLSTM,
    SRU,
    SSD,
    AllStates,
    Bidirectional,
    CfC,
    DeltaNet,
    Dense,
    Dropout,
    Elman,
    Embedding,
    GatedDeltaNet,
    IndRNN,
    LayerNormGRU,
    LayerNormLSTM,
    LearnedState,
    MinGRU,
    MinLSTM,
    ParaGRU,
    ParaLSTM,
    PeepholeLSTM,
    ProjectedLSTM,
    Residual,
    SkipStack,
    Stack,
    TeacherForcing,
    VariationalDropout,
    Zoneout,
)
from jaxrnn.cells import LSTMState
from jaxrnn.initializers import Identity
from jaxrnn.layers import Forcing


class DecayParams(NamedTuple):
    """Parameters of `Decay`."""

    w: Float[Array, "h"]
    start: Float[Array, "h"]


@dataclass(frozen=True)
class Decay(jaxrnn.LinearCell[DecayParams, Float[Array, "h"]]):
    """A linear cell, with an initial state that is not zero: h' = sigmoid(w x) h + x."""

    input_size: int

    def init(self, key):
        w = jax.random.normal(key, (self.input_size,))
        return DecayParams(w, jnp.linspace(0.5, 1.0, self.input_size))

    def initial_state(self, params):
        return 2 * params.start

    def coefficients(self, params, z):
        return jax.nn.sigmoid(params.w * z), z


CELLS = [
    Elman(3, 5),
    Elman(3, 5, activation=jax.nn.relu, u_init=Identity()),
    LSTM(3, 5),
    LSTM(3, 5, coupled=True),
    GRU(3, 5),
    GRU(3, 5, reset_after=False),
    PeepholeLSTM(3, 5),
    ProjectedLSTM(3, 5, 2),
    LayerNormLSTM(3, 5),
    LayerNormGRU(3, 5),
    MGU(3, 5),
    IndRNN(3, 5),
    ParaGRU(3, 5),
    ParaLSTM(3, 5),
    SLSTM(3, 4, heads=2),
    CTRNN(3, 5),
    CfC(3, 4, 5),
    GRU(3, 5, use_bias=False),
    LSTM(3, 5, coupled=True, activation=jax.nn.softplus, clip=2.0),
    LRU(3, 4),
    Decay(3),
    S5(3, 4, blocks=2),
    RGLRU(4, heads=2),
    MinGRU(3, 4),
    MinLSTM(3, 4),
    QRNN(3, 4),
    SRU(3, 4),
    LearnedState(MinGRU(3, 4)),
    GLA(3, 4, heads=2, key_size=2),
    MLSTM(3, 4, heads=2),
    SSD(3, 4, heads=2),
    DeltaNet(3, 4, heads=2, negative_eigenvalues=True),
    GatedDeltaNet(3, 4, heads=2),
    LearnedState(MLSTM(3, 4)),
    LearnedState(GatedDeltaNet(3, 4)),
]
"""The one table of cells and their variants. The class of a cell decides its laws."""

LINEAR = [cell for cell in CELLS if isinstance(cell, jaxrnn.LinearCell)]
MATRIX = [cell for cell in CELLS if isinstance(cell, jaxrnn.MatrixCell)]
GENERAL = [*(cell for cell in CELLS if cell not in LINEAR + MATRIX), Decay(3)]
"""Cells that the strategies for every cell run; the others have strategies of their own."""

COMBINATORS = [
    Stack((LSTM(3, 5), GRU(5, 4))),
    Bidirectional(GRU(3, 5)),
    Bidirectional(GRU(3, 5), LSTM(3, 5), merge=jnp.add),
    Residual(GRU(3, 3)),
    Zoneout(LSTM(3, 5), LSTMState(h=0.05, c=0.5)),
    Zoneout(GRU(3, 5), 0.2),
    LearnedState(LSTM(3, 5)),
    AllStates(LSTM(3, 5)),
    AllStates(Decay(3)),
    SkipStack((GRU(3, 2), Dropout(0.5), LSTM(3 + 5, 4))),
    Zoneout(LearnedState(MGU(3, 5)), 0.2),
    TeacherForcing(GRU(3, 5), every=3),
    TeacherForcing(LSTM(3, 5), alpha=0.3),
    Dropout(0.5),
    VariationalDropout(0.5),
    Dense(3, 5),
    Embedding(7, 3),
    Stack(
        (
            Embedding(7, 3),
            Dropout(0.5),
            Residual(Bidirectional(IndRNN(3, 3), merge=jnp.add)),
            Stack((LearnedState(MGU(3, 5)),)),
            Dense(5, 2),
        )
    ),
]

LAYERS = GENERAL + COMBINATORS

KINDS = [
    Elman(3, 5),
    LSTM(3, 5),
    GRU(3, 5, reset_after=False),
    LayerNormGRU(3, 5),
    Decay(3),
    CfC(3, 4, 5),
    Stack((LSTM(3, 5), GRU(5, 4))),
    Bidirectional(GRU(3, 5), LSTM(3, 5), merge=jnp.add),
    Zoneout(LearnedState(MGU(3, 5)), 0.2),
    Embedding(7, 3),
]
"""Layers that each do something that the others do not; other rows of a table are slow."""

_INPUTS = {
    TeacherForcing(GRU(3, 5), every=3): Forcing(jnp.zeros(3), jnp.zeros(5)),
    TeacherForcing(LSTM(3, 5), alpha=0.3): Forcing(
        jnp.zeros(3), LSTMState(h=jnp.zeros(2), c=None)
    ),
    Dropout(0.5): jnp.zeros(3),
    VariationalDropout(0.5): jnp.zeros(3),
    Embedding(7, 3): jnp.int32(6),
    COMBINATORS[-1]: jnp.int32(6),
}


def example(layer: jaxrnn.Layer) -> Any:
    """An input of one step, for layers without `input_size`."""
    return _INPUTS.get(layer)


STRATEGIES = [
    jaxrnn.Checkpointed(every=4),
    jaxrnn.Checkpointed(5, jaxrnn.Checkpointed(2, jaxrnn.Scan())),
    jaxrnn.Hoisted(),
    jaxrnn.Hoisted(block=4, recompute=False),
]


def label(value: object) -> str:
    """The name of a row in a test's id."""
    if type(value) is tuple:
        return ",".join(map(label, value))
    if isinstance(
        value, FunctionType
    ):  # its repr has an address, unlike in another worker
        return value.__name__
    return str(value).replace(" ", "")


def each(name: str, rows: list, quick: list | None = None) -> pytest.MarkDecorator:
    """Parametrizes over the rows of a table; those not among `quick` are marked `full`."""

    def marked(row):
        if quick is None or row in quick:
            return row
        return pytest.param(
            *(row if "," in name else [row]), marks=pytest.mark.full, id=label(row)
        )

    return pytest.mark.parametrize(name, list(map(marked, rows)), ids=label)


def on_devices(count: int, module: str, *options: str) -> str:
    """The output of `python -m tests.<module>`, in a process with `count` CPU devices."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={count}"
    done = subprocess.run(
        [sys.executable, "-m", f"tests.{module}", *options],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout
