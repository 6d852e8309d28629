"""Small helpers over optax and orbax: losses, penalties, an update, text, checkpoints.

Also gradient flossing, a penalty that keeps gradients from vanishing and exploding.

Needs the extra `train`: `pip install "jaxrnn[train]"`.
"""

from ._checkpoint import Checkpoints as Checkpoints
from ._flossing import gradient_flossing as gradient_flossing
from ._losses import bernoulli as bernoulli
from ._losses import cross_entropy as cross_entropy
from ._losses import masked_mean as masked_mean
from ._losses import squared_error as squared_error
from ._losses import valid_steps as valid_steps
from ._penalties import activation_regularization as activation_regularization
from ._penalties import norm_stabilizer as norm_stabilizer
from ._penalties import soft_orthogonality as soft_orthogonality
from ._penalties import (
    temporal_activation_regularization as temporal_activation_regularization,
)
from ._step import TrainState as TrainState
from ._step import Update as Update
from ._step import make_train_step as make_train_step
from ._step import train_state as train_state
from ._text import TextBatch as TextBatch
from ._text import TextBatches as TextBatches
