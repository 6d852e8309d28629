"""jaxrnn: recurrent networks for JAX, as pure functions.

Write a cell's equations once; run them with any strategy, on CPU, GPU and TPU.
"""

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from . import cells as cells
    from . import decode as decode
    from . import diagnostics as diagnostics
    from . import gradients as gradients
    from . import initializers as initializers
    from . import kernels as kernels
    from . import layers as layers
    from . import ops as ops
    from . import strategies as strategies
    from . import testing as testing
    from . import training as training
    from ._layer import Cell as Cell
    from ._layer import Context as Context
    from ._layer import Layer as Layer
    from ._layer import LinearCell as LinearCell
    from ._layer import MatrixCell as MatrixCell
    from ._layouts import unroll_batch_major as unroll_batch_major
    from ._layouts import unroll_one as unroll_one
    from ._unroll import cast as cast
    from ._unroll import explain as explain
    from ._unroll import unroll as unroll
    from .cells import CTRNN as CTRNN
    from .cells import GLA as GLA
    from .cells import GRU as GRU
    from .cells import LRU as LRU
    from .cells import LSTM as LSTM
    from .cells import MGU as MGU
    from .cells import MLSTM as MLSTM
    from .cells import QRNN as QRNN
    from .cells import RGLRU as RGLRU
    from .cells import S5 as S5
    from .cells import SLSTM as SLSTM
    from .cells import SRU as SRU
    from .cells import SSD as SSD
    from .cells import CfC as CfC
    from .cells import DeltaNet as DeltaNet
    from .cells import Elman as Elman
    from .cells import GatedDeltaNet as GatedDeltaNet
    from .cells import IndRNN as IndRNN
    from .cells import LayerNormGRU as LayerNormGRU
    from .cells import LayerNormLSTM as LayerNormLSTM
    from .cells import MinGRU as MinGRU
    from .cells import MinLSTM as MinLSTM
    from .cells import ParaGRU as ParaGRU
    from .cells import ParaLSTM as ParaLSTM
    from .cells import PeepholeLSTM as PeepholeLSTM
    from .cells import ProjectedLSTM as ProjectedLSTM
    from .gradients import BPTT as BPTT
    from .gradients import KFRTRL as KFRTRL
    from .gradients import RFLO as RFLO
    from .gradients import RTRL as RTRL
    from .gradients import TBPTT as TBPTT
    from .gradients import UORO as UORO
    from .gradients import DiagonalRTRL as DiagonalRTRL
    from .gradients import EProp as EProp
    from .gradients import ForwardMode as ForwardMode
    from .gradients import Immediate as Immediate
    from .gradients import SnAp as SnAp
    from .gradients import value_and_grad as value_and_grad
    from .layers import AdditiveAttention as AdditiveAttention
    from .layers import AllStates as AllStates
    from .layers import Bidirectional as Bidirectional
    from .layers import ClipGradient as ClipGradient
    from .layers import Dense as Dense
    from .layers import DotProductAttention as DotProductAttention
    from .layers import Dropout as Dropout
    from .layers import Embedding as Embedding
    from .layers import LearnedState as LearnedState
    from .layers import Residual as Residual
    from .layers import SkipStack as SkipStack
    from .layers import Stack as Stack
    from .layers import Stepwise as Stepwise
    from .layers import TeacherForcing as TeacherForcing
    from .layers import VariationalDropout as VariationalDropout
    from .layers import Zoneout as Zoneout
    from .layers import drop_connect as drop_connect
    from .strategies import Associative as Associative
    from .strategies import Auto as Auto
    from .strategies import Checkpointed as Checkpointed
    from .strategies import Chunked as Chunked
    from .strategies import CuDNN as CuDNN
    from .strategies import Fused as Fused
    from .strategies import Hoisted as Hoisted
    from .strategies import Newton as Newton
    from .strategies import Scan as Scan
    from .strategies import SequenceParallel as SequenceParallel
    from .strategies import Strategy as Strategy
    from .strategies import Wavefront as Wavefront


_ROOMS = """
    cells decode diagnostics gradients initializers kernels layers ops strategies testing
    training
"""

# Each module is imported when one of its names is first asked for, so that importing
# jaxrnn costs next to nothing and no part pays for another.
_NAMES = {
    "_layer": """
        Cell Context Layer LinearCell MatrixCell
    """,
    "_layouts": """
        unroll_batch_major unroll_one
    """,
    "_unroll": """
        cast explain unroll
    """,
    "cells": """
        CTRNN CfC DeltaNet Elman GLA GRU GatedDeltaNet IndRNN LRU LSTM
        LayerNormGRU LayerNormLSTM MGU MLSTM MinGRU MinLSTM ParaGRU ParaLSTM
        PeepholeLSTM ProjectedLSTM QRNN RGLRU S5 SLSTM SRU SSD
    """,
    "gradients": """
        BPTT DiagonalRTRL EProp ForwardMode Immediate KFRTRL RFLO RTRL SnAp TBPTT UORO
        value_and_grad
    """,
    "layers": """
        AdditiveAttention AllStates Bidirectional ClipGradient Dense DotProductAttention
        Dropout Embedding LearnedState Residual SkipStack Stack Stepwise TeacherForcing
        VariationalDropout Zoneout drop_connect
    """,
    "strategies": """
        Associative Auto Checkpointed Chunked CuDNN Fused Hoisted Newton Scan
        SequenceParallel Strategy Wavefront
    """,
}

_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [*_HOME, *_ROOMS.split()]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    elif name in _ROOMS.split():
        value = importlib.import_module(f".{name}", __name__)
    elif name == "__version__":
        value = importlib.import_module("importlib.metadata").version("jaxrnn")
    else:
        raise AttributeError(f"module 'jaxrnn' has no attribute {name!r}")
    globals()[name] = value  # found directly from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
