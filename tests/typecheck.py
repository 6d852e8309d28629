"""The run-time type checker of the tests."""

from collections.abc import Callable
from typing import TypeVar

from beartype import beartype


F = TypeVar("F", bound=Callable)

_OWN_CHECKS = {
    ("jaxrnn.decode._beam", "beam_search"),
    ("jaxrnn.decode._ctc", "ctc_greedy"),
    ("jaxrnn.decode._ctc_beam", "ctc_beam_search"),
    ("jaxrnn.decode._greedy", "greedy"),
    ("jaxrnn.decode._sample", "sample"),
    ("jaxrnn.decode._scheduled", "scheduled_sampling"),
    ("jaxrnn.diagnostics._gates", "gate_saturation"),
    ("jaxrnn.diagnostics._jacobians", "step_jacobians"),
    ("jaxrnn.diagnostics._lag", "gradient_norm_by_lag"),
    ("jaxrnn.diagnostics._lyapunov", "lyapunov_spectrum"),
    ("jaxrnn.diagnostics._memory", "effective_memory"),
    ("jaxrnn.diagnostics._singular_values", "jacobian_singular_values"),
    ("jaxrnn.diagnostics._singular_values", "product_singular_values"),
    ("jaxrnn._unroll", "unroll"),
    ("jaxrnn.gradients._value_and_grad", "value_and_grad"),
    ("jaxrnn.ops._diag_scan", "diag_scan"),
    ("jaxrnn.ops._log_diag_scan", "log_diag_scan"),
    ("jaxrnn.ops._linear_attention._over_chunks", "chunked_linear_attention"),
    ("jaxrnn.ops._linear_attention._over_chunks", "chunked_delta"),
    ("jaxrnn.ops._pool", "last_pool"),
    ("jaxrnn.ops._pool", "mean_pool"),
    ("jaxrnn.ops._pool", "max_pool"),
}


def checker(fn: F) -> F:
    """Applies beartype to every function that does not check its own arguments."""
    own = fn.__name__ in ("__init__", "__new__")
    return fn if own or (fn.__module__, fn.__name__) in _OWN_CHECKS else beartype(fn)
