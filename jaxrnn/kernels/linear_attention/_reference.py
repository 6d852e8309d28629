"""The matrix recurrences, slowly: Python loops over the equations."""

from typing import Any

import numpy as np


def linear_attention_reference(
    q: Any, k: Any, v: Any, log_decay: Any, initial: Any = None, *, resets: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """What `jaxrnn.chunked_linear_attention` means, in NumPy float64."""
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
    """What `jaxrnn.chunked_delta` means, in NumPy float64; without `beta`, attention."""
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
