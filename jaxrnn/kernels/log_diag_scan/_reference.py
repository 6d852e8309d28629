"""`log_diag_scan`, slowly: a Python loop over the equation."""

from typing import Any

import numpy as np


def log_diag_scan_reference(
    log_a: Any,
    log_b: Any,
    log_initial: Any = None,
    *,
    resets: Any = None,
    reverse: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """What `jaxrnn.log_diag_scan` means, in NumPy float64."""
    log_a, log_b = np.asarray(log_a, np.float64), np.asarray(log_b, np.float64)
    h = np.full(log_b.shape[1:], -np.inf) if log_initial is None else log_initial
    h, states = np.asarray(h, np.float64), np.zeros(log_b.shape)
    for t in range(len(log_b))[:: -1 if reverse else 1]:
        if resets is not None:
            fresh = np.asarray(resets)[t]
            fresh = fresh.reshape(fresh.shape + (1,) * (h.ndim - fresh.ndim))
            h = np.where(fresh, -np.inf, h)
        h = np.logaddexp(log_a[t] + h, log_b[t])
        states[t] = h
    return h, states
