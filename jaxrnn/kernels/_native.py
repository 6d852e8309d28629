"""Loads the library of C++ kernels and calls it through XLA's foreign function interface.

The library does not use Python: one build works with every version of Python, and with every
jaxlib that is at least as new as the one whose headers it was built with.
"""

import ctypes
import functools
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._arrays import expand_trailing
from . import reference
from .reference import Operands, Step, StepMask


@dataclass(frozen=True)
class Op:
    """A cell that has a kernel, with the constants from `native/cells.h`.

    Attributes:
        name: the name of the cell, and of its step in `reference`.
        code: its index in the library's list of cells.
        gates: the number of gates in W, U and b.
        states: the number of arrays in its state.
        saved: the number of residuals of each unit and time step.
        vectors: the number of parameters with one number for each unit.
        has_u: whether it has the matrix U.
    """

    name: str
    code: int
    gates: int
    states: int
    saved: int
    vectors: int
    has_u: bool

    @property
    def step(self) -> Step:
        return getattr(reference, self.name)


_INTERFACE = 4  # equals `jaxrnn_interface` in `native/ffi.cc`

_TARGETS = (
    "jaxrnn_forward",
    "jaxrnn_backward",
    "jaxrnn_linear",
    "jaxrnn_linear_backward",
)

_HOW = (
    "Install a C++17 compiler (such as g++) and then jaxrnn again: pip install "
    "--force-reinstall --no-deps, with the folder of its sources"
)


class Missing(Exception):
    """The library is missing or does not load; the message says what to do."""


def _file() -> Path:
    """The path of the library: next to this file, or in site-packages (editable install)."""
    name = "lib/libjaxrnn.so"
    here = Path(__file__).parent / name
    if here.exists():
        return here
    try:
        found = metadata.distribution("jaxrnn").locate_file(f"jaxrnn/kernels/{name}")
    except metadata.PackageNotFoundError:
        return here
    return Path(str(found))


@functools.cache
def library() -> ctypes.CDLL:
    """The library, loaded, with its handlers registered in XLA.

    Raises:
        Missing: if it is not there, does not load or is of another version of jaxrnn.
    """
    file = _file()
    if not file.exists():
        raise Missing(f"its kernels were not built when jaxrnn was installed. {_HOW}")
    try:
        loaded = ctypes.CDLL(str(file))
    except OSError as error:
        raise Missing(f"its kernels do not load here ({error}). {_HOW}") from None
    interface = getattr(loaded, "jaxrnn_interface", lambda: None)
    if interface() != _INTERFACE:
        raise Missing(f"its kernels were built for another version of jaxrnn. {_HOW}")
    loaded.jaxrnn_instruction_set.restype = ctypes.c_char_p
    loaded.jaxrnn_cells.restype = ctypes.c_char_p
    loaded.jaxrnn_workspace_kept.restype = ctypes.c_size_t
    loaded.jaxrnn_workspace_limit.argtypes = [ctypes.c_size_t]
    for name in _TARGETS:
        handler = jax.ffi.pycapsule(getattr(loaded, name))
        jax.ffi.register_ffi_target(name, handler, platform="cpu")
    return loaded


def missing() -> str | None:
    """The reason why there are no kernels; None if there are kernels."""
    try:
        library()
    except Missing as reason:
        return str(reason)
    return None


@functools.cache
def ops() -> dict[str, Op]:
    """The kernels by name, as the library lists them.

    Raises:
        Missing: if there is no library.
    """
    cells = json.loads(library().jaxrnn_cells())
    return {cell["name"]: Op(code=code, **cell) for code, cell in enumerate(cells)}


def _call(name: str, results, *args, **attributes):
    library()
    # only for direct calls: `_autodiff` handles `jax.vmap` before it reaches this one
    call = jax.ffi.ffi_call(name, results, vmap_method="sequential")
    return call(*args, **attributes)


def _like(array: Array, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape or array.shape, array.dtype)


def _masks(mask: StepMask) -> list[Array]:
    # the number of arguments is fixed: this shape means that there is no mask
    empty = jnp.zeros((0, 0), bool)
    return [empty if part is None else part for part in mask]


def forward(
    op: Op, operands: Operands, mask: StepMask, *, residuals: bool
) -> tuple[tuple[Array, ...], Array, tuple[Array, ...]]:
    """`(state, ys, residuals)`; with `residuals=False`, the residuals are empty."""
    x, h = operands.x, operands.state[0]
    time, batch, hidden = *x.shape[:2], h.shape[1]
    results = [_like(x, time, batch, hidden), *[_like(h)] * op.states]
    if residuals and op.states == 2:
        results.append(_like(x, time, batch, hidden))
    if residuals and op.saved:
        results.append(_like(x, time, batch, op.saved * hidden))
    ys, *rest = _call(
        "jaxrnn_forward",
        results,
        *jax.tree.leaves(operands),
        *_masks(mask),
        cell=op.code,
        residuals=residuals,
    )
    return tuple(rest[: op.states]), ys, tuple(rest[op.states :])


def backward(
    op: Op,
    operands: Operands,
    mask: StepMask,
    saved: tuple[Array, tuple[Array, ...]],
    d_state: tuple[Array, ...],
    d_ys: Array,
    *,
    inputs: bool = True,
    weights: bool = True,
) -> Operands:
    """The gradients of all operands; `saved` are the outputs and residuals of `forward`.

    With `inputs=False` or `weights=False`, the gradients of the inputs or of the weights are
    not computed, but returned as zeros.
    """
    ys, residuals = saved
    leaves, structure = jax.tree.flatten(operands)
    last = len(jax.tree.leaves(operands[3:]))
    kept = [inputs, *[True] * (len(leaves) - 1 - last), *[weights] * last]
    pairs = list(zip(leaves, kept, strict=True))
    # a result of shape (0,) tells the kernel that this gradient is not wanted
    grads = _call(
        "jaxrnn_backward",
        [_like(leaf) if keep else _like(leaf, 0) for leaf, keep in pairs],
        *leaves,
        *_masks(mask),
        ys,
        *residuals,
        d_ys,
        *d_state,
        cell=op.code,
    )
    grads = [
        grad if keep else jnp.zeros_like(leaf)
        for (leaf, keep), grad in zip(pairs, grads, strict=True)
    ]
    return jax.tree.unflatten(structure, grads)


def linear(a: Array, b: Array, h0: Array, resets: Array | None = None) -> Array:
    """The states h_t = a_t h_{t-1} + b_t, for a and b `(T, ...)` and h0 `(...)`.

    `resets` are booleans over the first axes of a; at a reset, h_{t-1} counts as zero.
    """
    cuts = resets is not None
    return _call("jaxrnn_linear", _like(a), _cut(a, resets), b, h0, cuts=cuts)


def linear_backward(
    a: Array, hs: Array, h0: Array, d_hs: Array, resets: Array | None = None
) -> tuple[Array, ...]:
    """The gradients of a, b and h0 of `linear`, whose states are `hs`."""
    results = [_like(a), _like(a), _like(h0)]
    operands = _cut(a, resets), hs, h0, d_hs
    cuts = resets is not None
    return tuple(_call("jaxrnn_linear_backward", results, *operands, cuts=cuts))


def _cut(a: Array, resets: Array | None) -> Array:
    """The decays, with -0 at resets only: so the kernel needs no array of resets."""
    if resets is None:
        return a
    positive = jnp.where(a == 0, jnp.zeros_like(a), a)
    return jnp.where(expand_trailing(resets, a.ndim), -jnp.zeros_like(a), positive)


def release_workspace() -> None:
    """Frees the memory that the CPU kernels keep between calls.

    They keep at most 512 MiB, in addition to the memory of running calls. The next call
    allocates memory again.

    Example:
        >>> from jaxrnn.kernels import release_workspace
        >>> release_workspace()
    """
    if missing() is None:
        library().jaxrnn_workspace_release()
