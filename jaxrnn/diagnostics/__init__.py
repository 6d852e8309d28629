"""What the dynamics of a layer are doing: arrays out, and a plot beside each."""

from ._lag import gradient_norm_by_lag as gradient_norm_by_lag
from ._lag import plot_gradient_norm_by_lag as plot_gradient_norm_by_lag
