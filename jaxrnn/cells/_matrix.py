"""Base class of cells with one matrix state per head: linear attention and delta rules.

One recurrence serves both; it runs step by step (`run_step`) or in chunks (`run_chunk`).
"""

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


_PIECE = 64  # time steps; 16 and 256 were slower


class Heads(NamedTuple):
    """The projected input of one step, for all heads.

    Attributes:
        q: the query.
        k: the key, at which the step writes.
        u: the value that the step writes.
        log_decay: logarithm of the state's decay, one per head or one per matrix row.
        beta: the fraction that a delta rule replaces; None to add k u^T instead.
        rest: further inputs of the readout.
    """

    q: Float[Array, "heads k"]
    k: Float[Array, "heads k"]
    u: Float[Array, "heads v"]
    log_decay: Float[Array, "heads d"]
    beta: Float[Array, "heads"] | None
    rest: Any


def run_chunk(heads: Heads, state: Array, step_mask: StepMask) -> tuple[Array, Array]:
    """`(state, reads)` after a chunk of steps, leaves `(C, heads, ...)`.

    The score matrix of a chunk grows with its square, so a long chunk runs in pieces.
    """
    heads = cast_heads(heads, state.dtype)
    if step_mask.valid is not None:
        heads = _idle(heads, ~step_mask.valid)
    resets = None if step_mask.reset is None else step_mask.reset[:, None]
    beta = () if heads.beta is None else (heads.beta[..., None],)
    arrays = (heads.q, heads.k, heads.u, *beta, heads.log_decay)
    size = min(_PIECE, len(heads.q))
    return over_chunks(arrays, state, resets, step_mask.initial, size)


def run_step(heads: Heads, state: Array) -> Array:
    """The state after one step."""
    heads = cast_heads(heads, state.dtype)
    state = jnp.exp(heads.log_decay)[:, :, None] * state
    u = heads.u
    if heads.beta is not None:
        u = heads.beta[:, None] * (u - jnp.einsum("hk,hkv->hv", heads.k, state))
    return state + heads.k[:, :, None] * u[:, None, :]


def read(heads: Heads, state: Array) -> Array:
    """The result of each head's query on the state, `(heads, v)`."""
    return jnp.einsum("hk,hkv->hv", heads.q.astype(state.dtype), state)


def cast_heads(heads: Heads, dtype: Any) -> Heads:
    """`heads` in the dtype of the state."""
    beta = None if heads.beta is None else heads.beta.astype(dtype)
    q, k, u, log_decay = (x.astype(dtype) for x in heads[:4])
    return Heads(q, k, u, log_decay, beta, heads.rest)


def _idle(heads: Heads, idle: Array) -> Heads:
    """`heads` without decay and with zero keys at `idle` steps, which keep the state."""
    idle = idle[:, None, None]
    k, log_decay = (jnp.where(idle, 0, x) for x in (heads.k, heads.log_decay))
    return heads._replace(k=k, log_decay=log_decay)


class HeadedCell(MatrixCell[Any, Any]):
    """A `MatrixCell` with independent heads.

    A subclass defines `project`, which returns `Heads`, and `combine`, which computes the
    output from the results of the heads' queries.
    """

    input_size: int
    hidden_size: int
    heads: int
    key_size: int | None
    w_init: Any = Glorot()

    @abc.abstractmethod
    def combine(self, params: Any, read: Array, z: Heads) -> Array:
        """The output of a step, from the results of the queries, `(heads, v)`."""

    @property
    def keys(self) -> int:
        """The number of rows of a head's state."""
        return self.key_size or self.values

    @property
    def values(self) -> int:
        """The number of columns of a head's state."""
        return self.hidden_size // self.heads

    def check(self) -> None:
        """Checks the sizes, that `heads` divides `hidden_size`, and the initializer."""
        optional = () if self.key_size is None else ("key_size",)
        check_sizes(self, "input_size", "hidden_size", "heads", *optional)
        check_heads(self, "hidden_size")
        hint = "give an initializer, such as jaxrnn.initializers.Glorot()."
        check_callable(self, "w_init", hint)

    def split(self, x: Array) -> Array:
        """`(heads * n,)` as `(heads, n)`."""
        return x.reshape(self.heads, -1)

    def weight(self, key: Any, rows: int, columns: int) -> Array:
        """A weight matrix `(rows, columns)`."""
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
