"""Measures of the dynamics of a layer, as arrays, each with a function that plots it."""

from ._draw import draw as draw
from ._fixed_point_plot import plot_fixed_points as plot_fixed_points
from ._fixed_point_search import FixedPointSearch as FixedPointSearch
from ._fixed_point_search import search_fixed_points as search_fixed_points
from ._fixed_points import FixedPoints as FixedPoints
from ._fixed_points import fixed_points as fixed_points
from ._gates import Saturation as Saturation
from ._gates import gate_saturation as gate_saturation
from ._gates import plot_gate_saturation as plot_gate_saturation
from ._jacobians import plot_step_jacobians as plot_step_jacobians
from ._jacobians import step_jacobians as step_jacobians
from ._lag import gradient_norm_by_lag as gradient_norm_by_lag
from ._lag import plot_gradient_norm_by_lag as plot_gradient_norm_by_lag
from ._lyapunov import LyapunovSpectrum as LyapunovSpectrum
from ._lyapunov import lyapunov_spectrum as lyapunov_spectrum
from ._lyapunov import plot_lyapunov_spectrum as plot_lyapunov_spectrum
from ._memory import effective_memory as effective_memory
from ._memory import plot_effective_memory as plot_effective_memory
from ._singular_values import jacobian_singular_values as jacobian_singular_values
from ._singular_values import (
    plot_jacobian_singular_values as plot_jacobian_singular_values,
)
from ._singular_values import (
    plot_product_singular_values as plot_product_singular_values,
)
from ._singular_values import product_singular_values as product_singular_values
from ._unrolled import draw_unrolled as draw_unrolled
from ._visited_states import sample_states as sample_states
from ._visited_states import visited_states as visited_states
