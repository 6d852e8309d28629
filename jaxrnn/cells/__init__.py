"""One published recurrence per file, and the initialisers of their parameters."""

from ._elman import Elman as Elman
from ._elman import ElmanParams as ElmanParams
from ._gru import GRU as GRU
from ._gru import GRUParams as GRUParams
from ._indrnn import IndRNN as IndRNN
from ._indrnn import IndRNNParams as IndRNNParams
from ._layer_norm_gru import LayerNormGRU as LayerNormGRU
from ._layer_norm_gru import LayerNormGRUParams as LayerNormGRUParams
from ._layer_norm_lstm import LayerNormLSTM as LayerNormLSTM
from ._layer_norm_lstm import LayerNormLSTMParams as LayerNormLSTMParams
from ._lstm import LSTM as LSTM
from ._lstm import LSTMParams as LSTMParams
from ._lstm import LSTMState as LSTMState
from ._mgu import MGU as MGU
from ._mgu import MGUParams as MGUParams
from ._norm import NormParams as NormParams
from ._peephole_lstm import PeepholeLSTM as PeepholeLSTM
from ._peephole_lstm import PeepholeLSTMParams as PeepholeLSTMParams
from ._projected_lstm import ProjectedLSTM as ProjectedLSTM
from ._projected_lstm import ProjectedLSTMParams as ProjectedLSTMParams
