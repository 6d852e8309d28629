"""Measures of the dynamics of a layer, as arrays, each with a function that plots it."""

from ._lag import gradient_norm_by_lag as gradient_norm_by_lag
from ._lag import plot_gradient_norm_by_lag as plot_gradient_norm_by_lag
