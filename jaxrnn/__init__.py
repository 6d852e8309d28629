"""jaxrnn: recurrent networks for JAX, as pure functions.

Write a cell's equations once; run them with any strategy, on CPU, GPU and TPU.
"""

from importlib.metadata import version as _version

from . import testing as testing
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
from ._unroll import Explanation as Explanation
from ._unroll import cast as cast
from ._unroll import explain as explain
from ._unroll import unroll as unroll
from .cells import CTRNN as CTRNN
from .cells import GRU as GRU
from .cells import LSTM as LSTM
from .cells import MGU as MGU
from .cells import SLSTM as SLSTM
from .cells import CfC as CfC
from .cells import CfCParams as CfCParams
from .cells import CTRNNParams as CTRNNParams
from .cells import Elman as Elman
from .cells import ElmanParams as ElmanParams
from .cells import GRUParams as GRUParams
from .cells import IndRNN as IndRNN
from .cells import IndRNNParams as IndRNNParams
from .cells import LayerNormGRU as LayerNormGRU
from .cells import LayerNormGRUParams as LayerNormGRUParams
from .cells import LayerNormLSTM as LayerNormLSTM
from .cells import LayerNormLSTMParams as LayerNormLSTMParams
from .cells import LSTMParams as LSTMParams
from .cells import LSTMState as LSTMState
from .cells import MGUParams as MGUParams
from .cells import NormParams as NormParams
from .cells import ParaGRU as ParaGRU
from .cells import ParaGRUParams as ParaGRUParams
from .cells import ParaLSTM as ParaLSTM
from .cells import ParaLSTMParams as ParaLSTMParams
from .cells import PeepholeLSTM as PeepholeLSTM
from .cells import PeepholeLSTMParams as PeepholeLSTMParams
from .cells import ProjectedLSTM as ProjectedLSTM
from .cells import ProjectedLSTMParams as ProjectedLSTMParams
from .cells import SLSTMParams as SLSTMParams
from .cells import SLSTMState as SLSTMState
from .cells import lecun_tanh as lecun_tanh
from .kernels.diag_scan import diag_scan as diag_scan
from .kernels.linear_attention import chunked_delta as chunked_delta
from .kernels.linear_attention import (
    chunked_linear_attention as chunked_linear_attention,
)
from .kernels.log_diag_scan import log_diag_scan as log_diag_scan
from .layers import Bidirectional as Bidirectional
from .layers import BothWays as BothWays
from .layers import Dense as Dense
from .layers import DenseParams as DenseParams
from .layers import Dropout as Dropout
from .layers import Embedding as Embedding
from .layers import EmbeddingParams as EmbeddingParams
from .layers import LearnedState as LearnedState
from .layers import LearnedStateParams as LearnedStateParams
from .layers import Residual as Residual
from .layers import Stack as Stack
from .layers import Stepwise as Stepwise
from .layers import VariationalDropout as VariationalDropout
from .layers import Zoneout as Zoneout
from .layers import concatenate as concatenate
from .layers import drop_connect as drop_connect
from .strategies import Auto as Auto
from .strategies import BlockJacobian as BlockJacobian
from .strategies import Checkpointed as Checkpointed
from .strategies import DiagonalJacobian as DiagonalJacobian
from .strategies import FullJacobian as FullJacobian
from .strategies import Newton as Newton
from .strategies import Scan as Scan
from .strategies import SequenceParallel as SequenceParallel
from .strategies import Solution as Solution
from .strategies import Strategy as Strategy


__version__ = _version("jaxrnn")
