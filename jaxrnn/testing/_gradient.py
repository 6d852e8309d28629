"""Law G: a gradient method may change the gradient, never the value."""

from typing import Any

import jax
import jax.numpy as jnp

from .._layer import Layer
from .._unroll import unroll
from ..gradients import Method, value_and_grad
from ..strategies import Scan
from ._case import case_of, cotangents, label_of, make_options
from ._compare import assert_close


def check_gradient(
    method: Method,
    layer: Layer,
    options: Any = ("lengths", "resets"),
    *,
    key: Any = None,
    tolerance: float = 1e-10,
    **how: Any,
) -> None:
    """Checks law G: the value, and of an exact method the gradient, are those of autodiff.

    The reference is `jax.grad` of `unroll` with `Scan()`, in float64, for a loss that differs
    from step to step.

    Args:
        method: a gradient method that fits the layer.
        layer: any layer that can take single steps.
        options: any of "lengths" and "resets".
        key: the random key of a method that draws numbers.
        tolerance: the largest error, relative to the largest entry.
        **how: `x` and `seed` as for `check_cell`; `time` and `batch`.

    Raises:
        LawBroken: with the place, and by how much.
        NotImplementedError: from a method that does not fit the layer.

    Example:
        >>> import jaxrnn
        >>> jaxrnn.testing.check_gradient(jaxrnn.RTRL(), jaxrnn.MGU(2, 3))
    """
    with jax.enable_x64(True):
        case = case_of(layer, how)
        given: dict[str, Any] = {
            k: jnp.asarray(v) for k, v in make_options(case, options).items()
        }
        run = lambda params: unroll(layer, params, case.xs, strategy=Scan(), **given)[1]
        targets = jax.tree.map(
            jnp.asarray, cotangents(case.seed, jax.eval_shape(run, case.params))
        )

        def value(params: Any) -> jax.Array:
            losses = jax.vmap(jax.vmap(step_loss))(run(params), targets)
            valid = _valid(given.get("lengths"), losses)
            count = jnp.maximum(jnp.sum(valid), 1).astype(losses.dtype)
            return jnp.sum(jnp.where(valid, losses, 0)) / count

        by = lambda params: value_and_grad(
            layer, step_loss, params, case.xs, targets, key=key, method=method, **given
        )
        got, want = (
            jax.jit(by)(case.params),
            jax.jit(jax.value_and_grad(value))(case.params),
        )
        label = f"{label_of(case, method)} with {sorted(options) or 'no options'}"
        assert_close("Law G, the value", label, got[0], want[0], tolerance)
        if method.exact:
            assert_close("Law G, the gradient", label, got[1], want[1], tolerance)


def step_loss(y: Any, target: Any) -> jax.Array:
    """A loss that is not linear in y, and sees every part of it."""
    each = jax.tree.map(lambda y, t: jnp.sum(jnp.sin(y * t).real), y, target)
    return jax.tree.reduce(jnp.add, each)


def _valid(lengths: Any, losses: jax.Array) -> jax.Array:
    if lengths is None:
        return jnp.ones(losses.shape, bool)
    return jnp.arange(losses.shape[0])[:, None] < lengths[None, :]
