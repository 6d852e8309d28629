"""Measures of the dynamics of a layer, as arrays, each with a function that plots it."""

from ._fixed_point_plot import plot_fixed_points as plot_fixed_points
from ._fixed_point_search import FixedPointSearch as FixedPointSearch
from ._fixed_point_search import search_fixed_points as search_fixed_points
from ._fixed_points import FixedPoints as FixedPoints
from ._fixed_points import fixed_points as fixed_points
from ._lag import gradient_norm_by_lag as gradient_norm_by_lag
from ._lag import plot_gradient_norm_by_lag as plot_gradient_norm_by_lag
from ._unrolled import draw_unrolled as draw_unrolled
from ._visited_states import sample_states as sample_states
from ._visited_states import visited_states as visited_states
