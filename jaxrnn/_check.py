"""Validation of the arguments of `unroll`.

Each error says what was given, why it cannot work, and what to do. The checks look at
structures, shapes and dtypes, so they work on tracers and cost nothing under `jax.jit`.
Only lengths are checked by value, where their values are known.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._check_step import cached, check_step, signature, structs
from ._layer import Layer
from ._typing import Size
from ._validate import as_array, check_lengths, described


class Arguments(NamedTuple):
    """The validated arguments of `unroll`; all arrays are JAX arrays."""

    layer: Layer
    params: Any
    xs: Any
    state: Any
    lengths: Any = None
    mask: Any = None
    resets: Any = None
    reverse: bool = False
    key: Any = None


def arguments(
    layer: Any,
    params: Any,
    xs: Any,
    state: Any = None,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    reverse: Any = False,
    key: Any = None,
) -> Arguments:
    """Validates every argument of `unroll` except the strategy."""
    check_layer(layer)
    params = check_params(layer, params)
    xs, time, batch = check_sequence(xs)
    state = check_state(layer, params, state, batch)
    if lengths is not None:
        lengths = check_lengths(lengths, time, batch)
    if mask is not None:
        mask = check_mask(mask, time, batch)
    if resets is not None:
        resets = check_resets(resets, time, batch)
    if not isinstance(reverse, bool):
        raise TypeError(f"reverse is {reverse!r}; give True or False.")
    if key is not None:
        key = check_key(key)
    check_step(layer, params, state, xs)
    return Arguments(layer, params, xs, state, lengths, mask, resets, reverse, key)


def check_layer(layer: Any) -> None:
    """Checks that this is a layer, and that it can be a static argument of `jax.jit`."""
    if isinstance(layer, type) and issubclass(layer, Layer):
        raise TypeError(
            f"the layer is the class {layer.__name__}; make one by calling it, such as "
            f"{layer.__name__}(8, 64)."
        )
    if not isinstance(layer, Layer):
        raise TypeError(
            f"the layer is {described(layer)}; give a jaxrnn layer, such as "
            "jaxrnn.LSTM(8, 64)."
        )
    try:
        hash(layer)
    except TypeError:
        raise TypeError(
            f"{layer} cannot be hashed, so jax.jit cannot take it. Declare its class with "
            "@dataclass(frozen=True), and keep arrays and lists out of its fields."
        ) from None


def check_params(layer: Layer, params: Any) -> Any:
    """Params as arrays; they must have the structure and shapes that `layer.init` gives."""
    params = as_arrays(params, "params", "make them with layer.init(key)")
    expected = _params_of(layer)
    hint = f"They are not parameters of {layer}: make them with layer.init(key)."
    _same_structure("params", params, expected, hint)
    _same_shapes("params", params, expected, hint, dtypes=False)
    for path, leaf in jax.tree.leaves_with_path(params):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise TypeError(
                f"params{jax.tree_util.keystr(path)} is {leaf.dtype}: parameters must be "
                "floating-point to have gradients. Cast them with "
                "jaxrnn.cast(params, jnp.float32)."
            )
    return params


def check_sequence(xs: Any) -> tuple[Any, Size, Size]:
    """`(xs, T, B)` for arrays `(T, B, ...)` of at least one step and one sequence."""
    xs = as_arrays(xs, "xs", "give an array (T, B, features)")
    leaves = jax.tree.leaves(xs)
    if not leaves:
        raise TypeError("xs holds no array: give an array (T, B, features).")
    for leaf in leaves:
        if leaf.ndim < 2:
            raise ValueError(
                f"xs has the shape {leaf.shape}: a sequence is time-major, (T, B, "
                "features). One sequence without a batch, (T, features), is for "
                "jaxrnn.unroll_one."
            )
    shapes = {leaf.shape[:2] for leaf in leaves}
    if len(shapes) > 1:
        raise ValueError(
            f"the arrays of xs differ in their first two axes: {sorted(shapes)}. All must "
            "have the same (T, B)."
        )
    time, batch = leaves[0].shape[:2]
    if time == 0 or batch == 0:
        empty = "time steps" if time == 0 else "sequences in the batch"
        raise ValueError(
            f"xs has the shape {leaves[0].shape}, which means no {empty}: give "
            "(T, B, features) with T and B of at least 1. For a sequence without steps, "
            "give a length of 0."
        )
    return xs, time, batch


def check_state(layer: Layer, params: Any, state: Any, batch: Size) -> Any:
    """The state of a batch, as `unroll` returns it; None gives the initial state."""
    if state is None:
        return jax.tree.map(
            lambda s: jnp.broadcast_to(s, (batch, *jnp.shape(s))),
            layer.initial_state(params),
        )
    state = as_arrays(state, "state", "give what an earlier unroll returned")
    without_batch = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s.shape[1:], s.dtype), state
    )
    one = _state_like(layer, *signature(params), *signature(without_batch))
    expected = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct((batch, *s.shape), s.dtype), one
    )
    hint = (
        f"Give a state that unroll returned for {layer} with B={batch}, or None for the "
        "initial state."
    )
    _same_structure("state", state, expected, hint)
    _same_shapes("state", state, expected, hint, dtypes=True)
    return state


def check_resets(resets: Any, time: Size, batch: Size) -> Any:
    """Resets as booleans `(T, B)`."""
    means = "True where a step starts from the initial state"
    return _check_booleans("resets", resets, means, time, batch)


def check_mask(mask: Any, time: Size, batch: Size) -> Any:
    """A mask as booleans `(T, B)`."""
    means = "True where a step is taken and False where it is skipped"
    return _check_booleans("mask", mask, means, time, batch)


def _check_booleans(name: str, given: Any, means: str, time: Size, batch: Size) -> Any:
    given = as_array(given, name, "give booleans (T, B)")
    verb = "are" if name.endswith("s") else "is"
    if given.dtype != jnp.bool_:
        raise TypeError(
            f"{name} {verb} {given.dtype}: give booleans, {means}; {name}.astype(bool) "
            "converts them."
        )
    if given.shape != (time, batch):
        has = "have" if verb == "are" else "has"
        raise ValueError(
            f"{name} {has} the shape {given.shape}, but xs has (T, B) = ({time}, "
            f"{batch}): give one boolean for each step of each sequence."
        )
    return jnp.asarray(given)


def check_key(key: Any) -> Any:
    """One random key: typed, or as raw `uint32` words, in JAX or NumPy."""
    hint = "give one key, such as jax.random.key(0)."
    if not isinstance(key, jax.Array | np.ndarray):
        raise TypeError(f"key is {described(key)}; {hint}")
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        if key.shape:
            raise ValueError(f"key holds keys of shape {key.shape}; {hint}")
        return key
    kinds: dict[Any, str] = {(2,): "threefry2x32", (4,): "rbg"}
    impl = kinds.get(key.shape)
    default = jax.eval_shape(lambda: jax.random.key(0))
    if impl is None or key.dtype != np.uint32:
        raise TypeError(f"key is an array {key.shape} of {key.dtype}; {hint}")
    # several of JAX's generators have keys of four words: the default one decides
    words = jax.eval_shape(jax.random.key_data, default).shape
    return jax.random.wrap_key_data(
        jnp.asarray(key), impl=None if words == key.shape else impl
    )


def as_arrays(tree: Any, name: str, hint: str) -> Any:
    """The tree with NumPy arrays as JAX arrays; TypeError if a leaf is not an array."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = [jnp.asarray(as_array(leaf, name, hint)) for leaf in leaves]
    return jax.tree.unflatten(structure, arrays)


@cached
def _params_of(layer: Layer) -> Any:
    return jax.eval_shape(lambda: layer.init(jax.random.key(0)))


@cached
def _state_like(layer: Layer, *signatures: Any) -> Any:
    """The state that a layer needs; the layer decides which parts of the given one to keep."""
    params, state = (structs(*signatures[i : i + 2]) for i in (0, 2))
    return jax.eval_shape(layer.reset_state, params, state)


def _same_structure(name: str, given: Any, expected: Any, hint: str) -> None:
    has: Any = jax.tree.structure(given)
    needs: Any = jax.tree.structure(expected)
    if has != needs:
        raise ValueError(
            f"{name} has the structure {has}, where {needs} is needed. {hint}"
        )


def _same_shapes(
    name: str, given: Any, expected: Any, hint: str, *, dtypes: bool
) -> None:
    pairs = zip(
        jax.tree.leaves_with_path(given), jax.tree.leaves(expected), strict=True
    )
    for (path, leaf), want in pairs:
        label = f"{name}{jax.tree_util.keystr(path)}"
        if leaf.shape != want.shape:
            raise ValueError(
                f"{label} has the shape {leaf.shape}, where {want.shape} is needed. {hint}"
            )
        if dtypes and leaf.dtype != want.dtype:
            raise TypeError(
                f"{label} is {leaf.dtype}, where {want.dtype} is needed: the state has the "
                f"dtype of the parameters. {hint}"
            )
