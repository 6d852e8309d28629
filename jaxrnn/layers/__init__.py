"""Combinators, which build layers from layers, and layers without memory."""

from ._additive_attention import AdditiveAttention as AdditiveAttention
from ._additive_attention import AdditiveAttentionParams as AdditiveAttentionParams
from ._all_states import AllStates as AllStates
from ._attention import Attention as Attention
from ._attention import Memory as Memory
from ._bidirectional import Bidirectional as Bidirectional
from ._bidirectional import Directions as Directions
from ._bidirectional import concatenate as concatenate
from ._clip_gradient import ClipGradient as ClipGradient
from ._dense import Dense as Dense
from ._dense import DenseParams as DenseParams
from ._dot_product_attention import DotProductAttention as DotProductAttention
from ._dot_product_attention import (
    DotProductAttentionParams as DotProductAttentionParams,
)
from ._drop_connect import drop_connect as drop_connect
from ._dropout import Dropout as Dropout
from ._dropout import VariationalDropout as VariationalDropout
from ._embedding import Embedding as Embedding
from ._embedding import EmbeddingParams as EmbeddingParams
from ._learned_state import ComplexParts as ComplexParts
from ._learned_state import LearnedState as LearnedState
from ._learned_state import LearnedStateParams as LearnedStateParams
from ._residual import Residual as Residual
from ._skip_stack import SkipStack as SkipStack
from ._stack import Stack as Stack
from ._stepwise import Stepwise as Stepwise
from ._teacher_forcing import Forcing as Forcing
from ._teacher_forcing import TeacherForcing as TeacherForcing
from ._teacher_forcing import TeacherForcingState as TeacherForcingState
from ._zoneout import Zoneout as Zoneout
