"""The numbers of a case, the program of a method, and the gate."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from jaxrnn.gradients import Method

from .methods import STEPS, Contender


BOUND = 2e-5
"""The largest difference, relative to the largest entry, in float32."""


def step_loss(y: jax.Array, target: jax.Array) -> jax.Array:
    """The squared error of one step."""
    return jnp.sum(jnp.square(y - target))


def make(contender: Contender, units: int, dtype: str) -> tuple[Any, Any, Any]:
    """Params without a zero, inputs and targets `(STEPS, 1, units)`.

    They are drawn by NumPy, as numbers that float32 represents, so that they are the same in
    both dtypes.
    """
    params = jax.eval_shape(contender.layer(units).init, jax.random.key(0))
    leaves, tree = jax.tree.flatten(params)
    random = np.random.default_rng(0)
    drawn = lambda shape, size: (size * random.normal(size=shape)).astype(np.float32)
    xs, targets = (drawn((STEPS, 1, units), 1) for _ in range(2))
    weights = [drawn(leaf.shape, units**-0.5) for leaf in leaves]
    *weights, xs, targets = (jnp.asarray(v, dtype) for v in (*weights, xs, targets))
    return jax.tree.unflatten(tree, weights), xs, targets


def program(contender: Contender, method: Method, units: int) -> Any:
    """`run(params, xs, targets)`: the mean loss and its gradient."""
    layer = contender.layer(units)
    key = jax.random.key(1) if method.random else None

    def run(params: Any, xs: Any, targets: Any) -> Any:
        return jaxrnn.value_and_grad(
            layer, step_loss, params, xs, targets, method=method, key=key
        )

    return run


def errors(got: dict[str, Any], want: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest difference of each array, relative to its largest entry."""

    def error(name: str) -> float:
        difference = np.abs(np.asarray(got[name], np.float64) - want[name]).max()
        return float(difference / np.abs(want[name]).max())

    return {name: error(name) for name in got}


def named(value: Any, grads: Any, random: bool) -> dict[str, Any]:
    """The arrays that are compared: the value, and the gradient unless it is random."""
    paths = jax.tree.leaves_with_path(grads)
    found = {f"d {jax.tree_util.keystr(path)}": leaf for path, leaf in paths}
    return {"value": value} | ({} if random else found)
