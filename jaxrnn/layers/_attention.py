"""The base class of attention over a fixed memory, such as the outputs of an encoder."""

import abc
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._arrays import expand_trailing, state_dtype, valid_steps
from .._layer import Layer, over_time_and_batch
from .._validate import as_array, check_callable, check_lengths, check_sizes


class Memory(NamedTuple):
    """The state of an attention layer: the memory that it reads; no step changes it.

    Attributes:
        keys: `(B, S, k)`, the projected values, which the queries are compared with.
        values: `(B, S, m)`, zero where not valid.
        valid: `(B, S)` booleans, False in the padding.
    """

    keys: Float[Array, "*B S k"]
    values: Float[Array, "*B S m"]
    valid: Bool[Array, "*B S"]


class Attention(Layer):
    """Base of attention layers: a subclass is a dataclass that defines `init` and `score`.

    Its params have the fields `w_q`, the projection of queries, and `w_k`, that of keys.
    """

    query_size: int
    memory_size: int
    merge: Callable[[Any, Any], Any]
    w_init: Any

    def _check_fields(self, size: str) -> None:
        check_sizes(self, "query_size", "memory_size", size)
        hint = "give a function of the input and the context, such as lambda x, c: c."
        check_callable(self, "merge", hint)
        hint = "give an initializer, such as jaxrnn.initializers.Glorot()."
        check_callable(self, "w_init", hint)

    @property
    def input_size(self) -> int:
        """The number of input features, those of a query."""
        return self.query_size

    @abc.abstractmethod
    def score(self, params: Any, keys: Any, q: Any) -> Any:
        """The scores `(S,)` of all keys `(S, k)` for one projected query, float32 at least."""

    def memory(self, params: Any, values: Any, lengths: Any = None) -> Memory:
        """The memory of a batch, to be passed to `unroll` as this layer's state.

            k_s = W_k m_s

        Args:
            params: the parameters of this layer.
            values: `(S, B, memory_size)`, time-major, such as the outputs of an encoder, in
                the dtype of the parameters.
            lengths: `(B,)` integers from 0 to S, the number of valid steps of each sequence;
                None if all are valid. Nothing in the padding, NaN included, reaches values
                or gradients.

        Returns:
            A `Memory` with leaves `(B, S, ...)`.

        Raises:
            TypeError, ValueError: if the values or the lengths are invalid.
        """
        values = self._checked_values(params, values)
        time, batch, _ = values.shape
        valid = jnp.ones((time, batch), bool)
        if lengths is not None:
            lengths = check_lengths(lengths, time, batch, "the memory")
            valid = valid_steps(lengths, time)
        values = jnp.where(valid[..., None], values, jnp.zeros_like(values))
        memory = Memory(values @ params.w_k, values, valid)
        return jax.tree.map(lambda m: jnp.swapaxes(m, 0, 1), memory)

    def weights(self, params: Any, memory: Memory, xs: Any) -> Float[Array, "T B S"]:
        """The attention weights, for pictures: how much each step reads of each value.

        Args:
            params: the parameters of this layer.
            memory: the memory, leaves `(B, S, ...)`.
            xs: `(T, B, query_size)`, the inputs of this layer.

        Returns:
            `(T, B, S)`, float32 at least. They are zero in the padding, and the sum over S
            is 1, except where the length of the memory is 0.

        Raises:
            TypeError, ValueError: if the memory or the inputs have the wrong shape.
        """
        xs = jnp.asarray(as_array(xs, "xs", "give an array (T, B, query_size)"))
        batch = memory.valid.shape[0] if isinstance(memory, Memory) else None
        if xs.ndim != 3 or xs.shape[1:] != (batch or xs.shape[1], self.query_size):
            raise ValueError(
                f"{self}.weights: xs has the shape {xs.shape}, where (T, {batch}, "
                f"{self.query_size}) is needed: give the inputs of this layer."
            )
        return self._weights(params, memory, xs)

    def initial_state(self, params):
        raise ValueError(
            f"{self} has no initial state: its state is the memory that it reads. Give "
            "jaxrnn.unroll the state of all layers, with the memory as this layer's part: "
            "state=(..., attention.memory(params, values, lengths), ...)."
        )

    def reset_state(self, params, state):
        """The same memory: a reset restarts the recurrent layers, and no step changes this."""
        self._check_memory(params, state, ())
        return state

    def step(self, params, state, x):
        self._check_memory(params, state, ())
        weights = self._masked(self.score(params, state.keys, x @ params.w_q), state)
        return state, self.merge(x, _context(weights, state.values))

    def unroll(self, params, state, xs, context):
        memory = state
        if context.valid is not None:
            # as for states: nothing is read by a sequence that takes no step
            memory = _only(jnp.any(context.valid, axis=0), state)
        weights = self._weights(params, memory, xs)
        over_time = jax.vmap(_context, in_axes=(0, None))
        contexts = jax.vmap(over_time, in_axes=(1, 0), out_axes=1)
        return state, self.merge(xs, contexts(weights, memory.values))

    def _weights(self, params: Any, memory: Memory, xs: Any) -> Any:
        """`(T, B, S)` for all steps of all sequences."""
        self._check_memory(params, memory, xs.shape[1:2])
        queries = over_time_and_batch(lambda w_q, x: x @ w_q, params.w_q, xs)
        scores = self._scores(params, memory.keys, queries)
        return jax.vmap(self._masked, in_axes=(0, None))(scores, memory)

    def _scores(self, params: Any, keys: Any, queries: Any) -> Any:
        """`(T, B, S)` from keys `(B, S, k)` and queries `(T, B, k)`."""
        over_batch = jax.vmap(partial(self.score, params))
        return jax.vmap(over_batch, in_axes=(None, 0))(keys, queries)

    def _masked(self, scores: Any, memory: Memory) -> Any:
        """The softmax over the valid entries of the last axis; zeros if there are no such."""
        lowest = jnp.asarray(jnp.finfo(scores.dtype).min, scores.dtype)
        weights = jax.nn.softmax(jnp.where(memory.valid, scores, lowest), axis=-1)
        return jnp.where(memory.valid, weights, jnp.zeros_like(weights))

    def _checked_values(self, params: Any, values: Any) -> Any:
        hint = f"give an array (S, B, {self.memory_size})"
        values = jnp.asarray(as_array(values, "values", hint))
        if values.ndim != 3 or values.shape[2] != self.memory_size or 0 in values.shape:
            raise ValueError(
                f"{self}.memory: values have the shape {values.shape}, where (S, B, "
                f"{self.memory_size}) is needed, with S and B of at least 1: give the "
                "time-major outputs of an encoder."
            )
        if values.dtype != params.w_k.dtype:
            raise TypeError(
                f"{self}.memory: values are {values.dtype} and the parameters "
                f"{params.w_k.dtype}. Cast one of them, with values.astype or "
                "jaxrnn.cast(params, dtype)."
            )
        return values

    def _check_memory(self, params: Any, memory: Any, batch: tuple) -> None:
        """Checks a memory of leaves `(*batch, S, ...)`."""
        hint = "Make it with attention.memory(params, values, lengths)."
        if not isinstance(memory, Memory):
            raise TypeError(
                f"the state of {self} is {type(memory).__name__}, where a "
                f"jaxrnn.layers.Memory is needed. {hint}"
            )
        dtype, axes = params.w_k.dtype, (*batch, *jnp.shape(memory.valid)[-1:])
        needed = (
            ((*axes, params.w_k.shape[-1]), dtype),
            ((*axes, self.memory_size), dtype),
            (axes, jnp.bool_),
        )
        for name, leaf, (shape, kind) in zip(
            Memory._fields, memory, needed, strict=True
        ):
            if leaf.shape != shape or leaf.dtype != kind:
                raise ValueError(
                    f"the memory of {self} has {name} of {leaf.shape} {leaf.dtype}, where "
                    f"{shape} {jnp.dtype(kind)} are needed. {hint}"
                )


def _only(taken: Any, memory: Memory) -> Memory:
    """The memory, with zeros for the sequences that take no step."""

    def zeroed(m):
        return jnp.where(expand_trailing(taken, m.ndim), m, jnp.zeros_like(m))

    return jax.tree.map(zeroed, memory)


def _context(weights: Any, values: Any) -> Any:
    """`sum_s a_s m_s`, accumulated in float32 at least, in the dtype of the values."""
    weights = weights.astype(values.dtype)
    return dot(weights, values).astype(values.dtype)


def dot(a: Any, b: Any) -> Any:
    """A matmul that is accumulated and returned in float32 at least."""
    return jnp.matmul(a, b, preferred_element_type=state_dtype(a, b))
