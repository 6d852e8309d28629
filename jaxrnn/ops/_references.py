"""References of the operations: each equation as a Python loop in NumPy float64."""

from typing import Any

import numpy as np


def diag_scan_reference(
    a: Any, b: Any, initial: Any = None, *, resets: Any = None, reverse: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Reference of `jaxrnn.ops.diag_scan` in NumPy float64, or complex128."""
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


def log_diag_scan_reference(
    log_a: Any,
    log_b: Any,
    log_initial: Any = None,
    *,
    resets: Any = None,
    reverse: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Reference of `jaxrnn.ops.log_diag_scan` in NumPy float64."""
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


def linear_attention_reference(
    q: Any, k: Any, v: Any, log_decay: Any, initial: Any = None, *, resets: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reference of `jaxrnn.ops.chunked_linear_attention` in NumPy float64."""
    return delta_reference(q, k, v, None, log_decay, initial, resets=resets)


def delta_reference(
    q: Any,
    k: Any,
    v: Any,
    beta: Any,
    log_decay: Any,
    initial: Any = None,
    *,
    resets: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Reference of `jaxrnn.ops.chunked_delta` in NumPy float64.

    With `beta=None` it is linear attention instead of the delta rule.
    """
    q, k, v, log_decay = (np.asarray(x, np.float64) for x in (q, k, v, log_decay))
    decay = np.exp(log_decay)
    decay = decay[..., None, None] if decay.ndim < q.ndim else decay[..., None]
    state = np.zeros((*k.shape[1:], v.shape[-1])) if initial is None else initial
    state, outputs = np.asarray(state, np.float64), []
    for t in range(len(q)):
        if resets is not None:
            fresh = np.asarray(resets)[t]
            fresh = fresh.reshape(fresh.shape + (1,) * (state.ndim - fresh.ndim))
            state = np.where(fresh, 0, state)
        state = decay[t] * state
        written = v[t]
        if beta is not None:
            read = np.einsum("...k,...kv->...v", k[t], state)
            written = np.asarray(beta, np.float64)[t][..., None] * (v[t] - read)
        state = state + k[t][..., :, None] * written[..., None, :]
        outputs.append(np.einsum("...k,...kv->...v", q[t], state))
    return state, np.stack(outputs)
