"""Checks that a layer can take one step on what `unroll` is given, by shapes alone.

Results are cached by structures, shapes and dtypes: `unroll` checks at every call, and tracing
a step costs more than running many.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ._layer import Context, Executor, Layer


def check_step(layer: Layer, params: Any, state: Any, xs: Any) -> None:
    """Checks that one step runs, and that it keeps the shapes and dtypes of the state."""
    x = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[2:], x.dtype), xs)
    one = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape[1:], s.dtype), state)
    signatures = [*signature(params), *signature(one), *signature(x)]
    problem = _problem_of_step(layer, *signatures)
    if problem is None:
        return
    kind, message = problem
    try:  # once more, since the cached problem has no traceback that shows the author's line
        _step_for_checks(layer)(*_three_trees(signatures))
    except Exception as error:
        raise kind(message) from error
    raise kind(message)


def _three_trees(signatures: Any) -> list[Any]:
    return [structs(*signatures[i : i + 2]) for i in (0, 2, 4)]


def signature(tree: Any) -> tuple:
    """The tree's structure and its leaves' shapes and dtypes, hashable."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, _dtype(leaf)) for leaf in leaves)


def _dtype(leaf: Any) -> Any:
    """The dtype of an array; typed keys have a dtype that NumPy does not know."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return leaf.dtype
    return jnp.dtype(leaf.dtype)


def structs(structure: Any, leaves: tuple) -> Any:
    """The inverse of `signature`, with shapes and dtypes in place of arrays."""
    return jax.tree.unflatten(
        structure, [jax.ShapeDtypeStruct(*leaf) for leaf in leaves]
    )


def cached(fn: Callable) -> Callable:
    """Caches results by the arguments and by the settings of JAX that change them."""

    @functools.lru_cache(maxsize=512)
    def remembered(settings, *args):
        del settings
        return fn(*args)

    @functools.wraps(fn)
    def wrapper(*args):
        config: Any = jax.config
        settings = (config.jax_enable_x64, config.jax_numpy_dtype_promotion)
        return remembered(settings, *args)

    return wrapper


@cached
def _problem_of_step(layer: Layer, *signatures: Any) -> tuple[type, str] | None:
    """The type and the message of the error; None if the step is valid.

    Cached, since `unroll` checks at every call.
    """
    params, state, x = _three_trees(signatures)
    given = ", ".join(f"{leaf.shape} {leaf.dtype}" for leaf in jax.tree.leaves(x))
    try:
        with warnings.catch_warnings():
            # JAX only warns when it drops the imaginary part of a complex input
            warnings.filterwarnings("error", message="Casting (from )?complex")
            after, _ = _step_for_checks(layer)(params, state, x)
    except (TypeError, ValueError, Warning) as error:
        what = f"{layer} cannot take a step on an input of {given}"
        return _reason(error, what, layer)
    if signature(after) == signature(state):
        return None
    dtypes = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(params)})
    return TypeError, (
        f"{layer} turns a state of {_shown(state)} into one of {_shown(after)}, but a "
        f"state must keep its shapes and dtypes. The input is {given} and the "
        f"parameters are {', '.join(dtypes)}: cast one of them, with xs.astype or "
        "jaxrnn.cast(params, dtype)."
    )


def _reason(error: Exception, what: str, layer: Layer) -> tuple[type, str]:
    """The error's type and message, with its place in the layer and advice what to do."""
    words = str(error).splitlines()[0].rstrip(".")
    notes = [n for n in getattr(error, "__notes__", []) if n.startswith("in layer")]
    words += "".join(f" ({note})" for note in notes)
    if (
        "dtype" in words
        or isinstance(error, Warning)
        or (isinstance(error, TypeError) and "shape" not in words)
    ):
        return TypeError, (
            f"{what}: {words}. Cast the input with xs.astype, or the parameters with "
            "jaxrnn.cast(params, dtype)."
        )
    takes = getattr(layer, "input_size", None)
    wants = "" if takes is None else f"it takes {takes} features; "
    return ValueError, (
        f"{what}: {wants}{words}. Give xs of shape (T, B, features), with as many features "
        "as the layer was made for."
    )


def _step_for_checks(layer: Layer) -> Callable:
    """`layer.step` on shapes alone; for a layer without `step`, an unroll of one step."""

    def step(params, state, x):
        try:
            return jax.eval_shape(layer.step, params, state, x)
        except NotImplementedError:
            return jax.eval_shape(functools.partial(_unrolled, layer), params, state, x)

    return step


def _unrolled(layer: Layer, params: Any, state: Any, x: Any) -> tuple[Any, Any]:
    states = jax.tree.map(lambda s: s[None], state)
    xs = jax.tree.map(lambda x: x[None, None], x)
    after, ys = layer.unroll(params, states, xs, Context(_OneStep()))
    return jax.tree.map(lambda s: s[0], after), jax.tree.map(lambda y: y[0, 0], ys)


class _OneStep(Executor):
    """Runs sequences of one step, without a loop."""

    def __call__(self, cell, params, state, xs, context):
        x = jax.tree.map(lambda x: x[0], xs)
        state, y = jax.vmap(cell.step, in_axes=(None, 0, 0))(params, state, x)
        return state, jax.tree.map(lambda y: y[None], y)


def _shown(tree: Any) -> str:
    return " ".join(
        f"{jax.tree_util.keystr(path)}{leaf.shape} {leaf.dtype}".strip()
        for path, leaf in jax.tree.leaves_with_path(tree)
    )
