"""`jaxrnn.ops.chunked_delta` against a scan of the same recurrence, gated, then timed."""

import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn

from .lines import Say
from .tables import take_turns


_BOUND = 1e-2
"""Of relative norms: matmuls in TF32 have errors of 5e-4, in both contenders."""

Function = Callable[..., Any]


def measure_delta(say: Say, rehearse: bool) -> None:
    """Writes the errors and the times of both, in float32 at the default precision."""
    end = time.monotonic() + float(os.environ.get("DEVICE_SECONDS", 300))
    shape = (70, 2, 2, 8) if rehearse else (2048, 4, 6, 128)
    *arrays, weights = _numbers(shape)
    chunked = lambda *args: jaxrnn.ops.chunked_delta(*args)[1]
    with jax.enable_x64(True):
        want = _answer(_compiled(_by_scan, arrays, weights, "float64"))
    calls = {}
    for name, run in (("chunked_delta", chunked), ("scan", _by_scan)):
        say(doing=[name], shape=list(shape))
        programs = _compiled(run, arrays, weights, "float32")
        pairs = zip(_answer(programs), want, strict=True)
        worst = max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)
        say(contender=name, worst=worst, bound=_BOUND, green=worst < _BOUND)
        if worst < _BOUND:
            calls[name] = lambda f, p=programs: jax.block_until_ready(p[f]())
    take_turns(say, ("forward", "backward"), calls, end)


def _numbers(shape: tuple[int, int, int, int]) -> list[np.ndarray]:
    """q, unit keys, v, beta, log_decay, and weights of the outputs."""
    random = np.random.default_rng(0)
    q, k, v, weights = (random.standard_normal(shape) for _ in range(4))
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    beta, decay = (
        random.uniform(0.1, 0.9, shape[:3]),
        -random.exponential(0.05, shape[:3]),
    )
    return [a.astype(np.float32) for a in (q, k, v, beta, decay, weights)]


def _compiled(
    run: Function, arrays: list[np.ndarray], weights: np.ndarray, dtype: str
) -> dict[str, Callable[[], Any]]:
    """The calls of the two figures, on arrays of a dtype."""
    given = [jnp.asarray(a, dtype) for a in arrays]
    sums = jnp.asarray(weights, dtype)
    loss = lambda *args: jnp.sum(run(*args) * sums)
    forward, backward = jax.jit(run), jax.jit(jax.grad(loss, tuple(range(len(given)))))
    return {"forward": lambda: forward(*given), "backward": lambda: backward(*given)}


def _answer(programs: dict[str, Callable[[], Any]]) -> list[np.ndarray]:
    arrays = (programs["forward"](), *programs["backward"]())
    return [np.asarray(a, np.float64) for a in arrays]


def _by_scan(q: Any, k: Any, v: Any, beta: Any, log_decay: Any) -> Any:
    """S' = exp(log_decay) S;  S = S' + beta k (v - S'^T k)^T;  o = S^T q."""

    def body(state: Any, step: Any) -> Any:
        q, k, v, beta, log_decay = step
        state = state * jnp.exp(log_decay)[..., None, None]
        error = v - jnp.einsum("...kv,...k->...v", state, k)
        state += jnp.einsum("...k,...v->...kv", beta[..., None] * k, error)
        return state, jnp.einsum("...kv,...k->...v", state, q)

    start = jnp.zeros((*k.shape[1:], v.shape[-1]), v.dtype)
    return jax.lax.scan(body, start, (q, k, v, beta, log_decay))[1]
