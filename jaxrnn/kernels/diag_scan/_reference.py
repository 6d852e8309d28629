"""`diag_scan`, slowly: a Python loop over the equation."""

from typing import Any

import numpy as np


def diag_scan_reference(
    a: Any, b: Any, initial: Any = None, *, resets: Any = None, reverse: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """What `jaxrnn.diag_scan` means, in NumPy float64 (or complex128)."""
    a, b = np.asarray(a), np.asarray(b)
    kind = np.complex128 if np.iscomplexobj(a) or np.iscomplexobj(b) else np.float64
    h = np.zeros(b.shape[1:], kind) if initial is None else np.asarray(initial, kind)
    states = np.zeros(b.shape, kind)
    for t in range(len(b))[:: -1 if reverse else 1]:
        if resets is not None:
            fresh = np.asarray(resets)[t]
            h = np.where(
                fresh.reshape(fresh.shape + (1,) * (h.ndim - fresh.ndim)), 0, h
            )
        h = a[t].astype(kind) * h + b[t].astype(kind)
        states[t] = h
    return h, states
