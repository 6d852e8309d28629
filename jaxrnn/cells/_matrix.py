"""What cells with a matrix state for each head share: one recurrence, step by step and in
chunks, for linear attention and for the delta rule."""

import abc
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import state_dtype
from .._layer import MatrixCell, StepMask
from .._validate import check_callable, check_heads, check_sizes
from ..initializers import Glorot
from ..ops._linear_attention import over_chunks
from ._common import blocks


_PIECE = 64  # steps; 16 and 256 are slower


class Heads(NamedTuple):
    """What a step does to the state of every head.

    Attributes:
        q: what is asked, k: where is written, u: what is written.
        log_decay: of the state; one for each head, or for each row of its matrix.
        beta: the share that is replaced, in a delta rule; None: k u^T is added.
        rest: what the readout needs beside.
    """

    q: Float[Array, "heads k"]
    k: Float[Array, "heads k"]
    u: Float[Array, "heads v"]
    log_decay: Float[Array, "heads d"]
    beta: Float[Array, "heads"] | None
    rest: Any


def run_chunk(heads: Heads, state: Array, step_mask: StepMask) -> tuple[Array, Array]:
    """A chunk of steps, leaves `(C, heads, ...)`: the state after it and what was read.

    The scores of a chunk grow with its square: a long one is run piece by piece.
    """
    heads = widened(heads, state.dtype)
    if step_mask.valid is not None:
        heads = _idle(heads, ~step_mask.valid)
    resets = None if step_mask.reset is None else step_mask.reset[:, None]
    beta = () if heads.beta is None else (heads.beta[..., None],)
    arrays = (heads.q, heads.k, heads.u, *beta, heads.log_decay)
    size = min(_PIECE, len(heads.q))
    return over_chunks(arrays, state, resets, step_mask.initial, size)


def run_step(heads: Heads, state: Array) -> Array:
    """One step: the state after it."""
    heads = widened(heads, state.dtype)
    state = jnp.exp(heads.log_decay)[:, :, None] * state
    u = heads.u
    if heads.beta is not None:
        u = heads.beta[:, None] * (u - jnp.einsum("hk,hkv->hv", heads.k, state))
    return state + heads.k[:, :, None] * u[:, None, :]


def read(heads: Heads, state: Array) -> Array:
    """What a step asks of the state after it: `(heads, v)`."""
    return jnp.einsum("hk,hkv->hv", heads.q.astype(state.dtype), state)


def widened(heads: Heads, dtype: Any) -> Heads:
    """The same in the dtype of the state."""
    beta = None if heads.beta is None else heads.beta.astype(dtype)
    q, k, u, log_decay = (x.astype(dtype) for x in heads[:4])
    return Heads(q, k, u, log_decay, beta, heads.rest)


def _idle(heads: Heads, idle: Array) -> Heads:
    """Steps that keep the state as it is, where `idle`."""
    idle = idle[:, None, None]
    k, log_decay = (jnp.where(idle, 0, x) for x in (heads.k, heads.log_decay))
    return heads._replace(k=k, log_decay=log_decay)


class HeadedCell(MatrixCell[Any, Any]):
    """A `MatrixCell` of heads that run apart: a variant gives `project` to `Heads`, and
    `combine`, which makes the output of what the heads have read."""

    input_size: int
    hidden_size: int
    heads: int
    key_size: int | None
    w_init: Any = Glorot()

    @abc.abstractmethod
    def combine(self, params: Any, read: Array, z: Heads) -> Array:
        """The output of a step, from `(heads, v)`."""

    @property
    def keys(self) -> int:
        """Rows of a head's state."""
        return self.key_size or self.values

    @property
    def values(self) -> int:
        """Columns of a head's state."""
        return self.hidden_size // self.heads

    def check(self) -> None:
        """Sizes that are integers of at least 1, and divide; an initializer."""
        optional = () if self.key_size is None else ("key_size",)
        check_sizes(self, "input_size", "hidden_size", "heads", *optional)
        check_heads(self, "hidden_size")
        hint = "give an initializer, such as jaxrnn.initializers.Glorot()."
        check_callable(self, "w_init", hint)

    def split(self, x: Array) -> Array:
        """`(heads * n,)` as `(heads, n)`."""
        return x.reshape(self.heads, -1)

    def weight(self, key: Any, rows: int, columns: int) -> Array:
        """One matrix."""
        return blocks(self.w_init, key, (rows, columns), 1)

    def initial_state(self, params):
        return jnp.zeros((self.heads, self.keys, self.values), state_dtype(params))

    def recur(self, params, state, z):
        return run_step(z, state)

    def readout(self, params, state, z):
        return self.combine(params, read(z, state), z)

    def chunk(self, params, state, zs, step_mask):
        state, reads = run_chunk(zs, state, step_mask)
        return state, jax.vmap(self.combine, in_axes=(None, 0, 0))(params, reads, zs)
