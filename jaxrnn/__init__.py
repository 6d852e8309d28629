"""jaxrnn: recurrent networks for JAX, as pure functions.

Write a cell's equations once; run them with any strategy, on CPU, GPU and TPU.
"""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ._init import Chrono as Chrono
from ._init import ForgetBias as ForgetBias
from ._init import ForgetPowerLaw as ForgetPowerLaw
from ._init import ForgetRange as ForgetRange
from ._init import Glorot as Glorot
from ._init import Identity as Identity
from ._init import Orthogonal as Orthogonal
from ._init import SmallNormal as SmallNormal
from ._init import TorchUniform as TorchUniform
from ._init import Uniform as Uniform
from ._layer import Cell as Cell
from ._layer import Context as Context
from ._layer import Layer as Layer
from ._layer import LinearCell as LinearCell
from ._layer import Marks as Marks
from ._layer import MatrixCell as MatrixCell
from ._layouts import unroll_batch_major as unroll_batch_major
from ._layouts import unroll_one as unroll_one
from ._unroll import Explanation as Explanation
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
from .cells import CfCParams as CfCParams
from .cells import CTRNNParams as CTRNNParams
from .cells import DeltaNet as DeltaNet
from .cells import DeltaNetParams as DeltaNetParams
from .cells import Elman as Elman
from .cells import ElmanParams as ElmanParams
from .cells import GatedDeltaNet as GatedDeltaNet
from .cells import GatedDeltaNetParams as GatedDeltaNetParams
from .cells import GLAParams as GLAParams
from .cells import GRUParams as GRUParams
from .cells import IndRNN as IndRNN
from .cells import IndRNNParams as IndRNNParams
from .cells import LayerNormGRU as LayerNormGRU
from .cells import LayerNormGRUParams as LayerNormGRUParams
from .cells import LayerNormLSTM as LayerNormLSTM
from .cells import LayerNormLSTMParams as LayerNormLSTMParams
from .cells import LRUParams as LRUParams
from .cells import LSTMParams as LSTMParams
from .cells import LSTMState as LSTMState
from .cells import MGUParams as MGUParams
from .cells import MinGRU as MinGRU
from .cells import MinGRUParams as MinGRUParams
from .cells import MinLSTM as MinLSTM
from .cells import MinLSTMParams as MinLSTMParams
from .cells import MLSTMParams as MLSTMParams
from .cells import MLSTMState as MLSTMState
from .cells import NormParams as NormParams
from .cells import ParaGRU as ParaGRU
from .cells import ParaGRUParams as ParaGRUParams
from .cells import ParaLSTM as ParaLSTM
from .cells import ParaLSTMParams as ParaLSTMParams
from .cells import PeepholeLSTM as PeepholeLSTM
from .cells import PeepholeLSTMParams as PeepholeLSTMParams
from .cells import ProjectedLSTM as ProjectedLSTM
from .cells import ProjectedLSTMParams as ProjectedLSTMParams
from .cells import QRNNParams as QRNNParams
from .cells import RGLRUParams as RGLRUParams
from .cells import S5Params as S5Params
from .cells import SLSTMParams as SLSTMParams
from .cells import SLSTMState as SLSTMState
from .cells import SRUParams as SRUParams
from .cells import SSDParams as SSDParams
from .cells import lecun_tanh as lecun_tanh
from .kernels.diag_scan import diag_scan as diag_scan
from .kernels.linear_attention import chunked_delta as chunked_delta
from .kernels.linear_attention import (
    chunked_linear_attention as chunked_linear_attention,
)
from .kernels.log_diag_scan import log_diag_scan as log_diag_scan
from .layers import AllStates as AllStates
from .layers import Bidirectional as Bidirectional
from .layers import BothWays as BothWays
from .layers import ComplexParts as ComplexParts
from .layers import Dense as Dense
from .layers import DenseParams as DenseParams
from .layers import Dropout as Dropout
from .layers import Embedding as Embedding
from .layers import EmbeddingParams as EmbeddingParams
from .layers import LearnedState as LearnedState
from .layers import LearnedStateParams as LearnedStateParams
from .layers import Residual as Residual
from .layers import SkipStack as SkipStack
from .layers import Stack as Stack
from .layers import Stepwise as Stepwise
from .layers import VariationalDropout as VariationalDropout
from .layers import Zoneout as Zoneout
from .layers import concatenate as concatenate
from .layers import drop_connect as drop_connect
from .strategies import Associative as Associative
from .strategies import Auto as Auto
from .strategies import BlockJacobian as BlockJacobian
from .strategies import Checkpointed as Checkpointed
from .strategies import Chunked as Chunked
from .strategies import DiagonalJacobian as DiagonalJacobian
from .strategies import FullJacobian as FullJacobian
from .strategies import Fused as Fused
from .strategies import Hoisted as Hoisted
from .strategies import Newton as Newton
from .strategies import Scan as Scan
from .strategies import SequenceParallel as SequenceParallel
from .strategies import Solution as Solution
from .strategies import Strategy as Strategy
from .strategies import Wavefront as Wavefront


if _TYPE_CHECKING:
    from . import testing as testing

__version__ = _version("jaxrnn")


def __getattr__(name: str) -> _Any:
    """`jaxrnn.testing`, which only tests need, is imported when it is asked for."""
    if name == "testing":
        return _import_module(".testing", __name__)
    raise AttributeError(f"module 'jaxrnn' has no attribute {name!r}")
