"""Reference answers: `Scan()` in float64, and the error of `Scan()` in the case's dtype.

They are computed once for each case, in a process of their own, and handed to the
contenders as a file: a contender runs only its own code, and all are compared with the
same numbers.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn

from . import verify
from .cases import STREAMED, Case
from .peers._jaxrnn import JaxrnnPeer
from .problem import Problem, make_problem
from .verify import Answer, Reference


def device() -> dict[str, Any]:
    """The device that JAX computes on."""
    first = jax.devices()[0]
    return {"platform": first.platform, "device": first.device_kind}


def write_reference(case: Case, path: Path) -> None:
    """Solves a case and writes the answers that contenders are gated against."""
    make_reference(case).save(path)


def make_reference(case: Case) -> Reference:
    """The answers that contenders are gated against."""
    problem = make_problem(case)
    with jax.enable_x64(True):
        exact = solve(case, problem, "float64")
    rounded = solve(case, problem, case.dtype)
    blocks = verify.blocks(case, problem.lengths, exact)
    own = verify.errors(verify.blocks(case, problem.lengths, rounded), blocks)
    stream = np.asarray(exact.ys)[:STREAMED, 0]
    return Reference(blocks, verify.bounds(case, own), stream)


def solve(case: Case, problem: Problem, dtype: str) -> Answer:
    """Outputs and gradients by `Scan()`, entirely in one dtype."""
    peer = JaxrnnPeer(jaxrnn.Scan())
    lengths = None if problem.lengths is None else jnp.array(problem.lengths)
    cotangents = jnp.array(problem.cotangents, dtype)
    packed = peer.pack(case, problem.cells)
    params = jax.tree.map(lambda weight: jnp.array(weight, dtype), packed)
    model = peer.model(case)

    def loss(params: Any, xs: Any) -> Any:
        h, ys = model(params, xs, lengths)
        return jnp.sum(ys * cotangents), (h, ys)

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, (h, ys)), (d_params, d_xs) = run(params, jnp.array(problem.xs, dtype))
    d_cells = peer.unpack(case, jax.tree.map(_numpy, d_params))
    return Answer(_numpy(ys), _numpy(h), _numpy(d_xs), d_cells)


def _numpy(a: Any) -> np.ndarray:
    return np.asarray(a, np.float64)
