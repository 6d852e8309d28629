"""Greedy decoding for connectionist temporal classification (CTC)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer

from .._check import check_lengths
from ._checks import check_logits, check_symbol
from ._common import at_least_float32


class Labelling(NamedTuple):
    """A sequence of labels without blanks, for each entry of the batch.

    Attributes:
        symbols: the labels; those past the end are the blank.
        lengths: the number of labels.
        log_probs: the log-probability of the path of frames that the labels come from.
    """

    symbols: Int[Array, "T B"]
    lengths: Int[Array, "B"]
    log_probs: Float[Array, "B"]


def ctc_greedy(
    logits: Float[Array, "T B v"],
    lengths: Integer[Array, "B"] | None = None,
    *,
    blank: int = 0,
) -> Labelling:
    """Decodes CTC outputs by the most probable path of frames (best path decoding).

        labels = collapse(argmax_v logits_1, ..., argmax_v logits_T)

    `collapse` merges repeated symbols and then removes blanks. The best path need not give
    the most probable labels, since many paths collapse to the same labels; see
    `ctc_beam_search`.

    Args:
        logits: scores of each symbol at each frame; they need not be normalized.
        lengths: the number of valid frames of each sequence, from 0 to T; None for T.
        blank: the symbol that means "no label".

    Returns:
        A `Labelling`: symbols `(T, B)`, lengths `(B,)` and log-probabilities `(B,)`.

    Raises:
        TypeError, ValueError: if an argument is invalid.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> path = jnp.array([1, 1, 0, 1, 2, 0])
        >>> logits = 9.0 * jax.nn.one_hot(path, 3)[:, None]  # (T, B, v)
        >>> labels = jaxrnn.decode.ctc_greedy(logits)
        >>> labels.symbols[:, 0].tolist(), labels.lengths.tolist()
        ([1, 1, 2, 0, 0, 0], [3])

    Reference: Graves et al. 2006, doi:10.1145/1143844.1143891.
    """
    logits, lengths, blank = check_ctc(logits, lengths, blank)
    log_p = frames(logits, lengths, blank)
    path = jnp.argmax(log_p, axis=-1).astype(jnp.int32)
    # concatenate: `.at[1:].set` is miscompiled on CPUs (openxla/xla#49176)
    before = jnp.concatenate([jnp.full_like(path[:1], blank), path[:-1]])
    kept = (path != blank) & (path != before)
    packed = jnp.argsort(~kept, axis=0, stable=True)
    symbols = jnp.take_along_axis(jnp.where(kept, path, blank), packed, axis=0)
    count = jnp.sum(kept, axis=0, dtype=jnp.int32)
    return Labelling(symbols, count, jnp.sum(jnp.max(log_p, axis=-1), axis=0))


def check_ctc(logits: Any, lengths: Any, blank: Any) -> tuple[Any, Any, int]:
    """The validated arguments; lengths of None are T."""
    logits = check_logits(logits)
    time, batch, vocabulary = logits.shape
    if lengths is None:
        lengths = jnp.full(batch, time, jnp.int32)
    lengths = check_lengths(lengths, time, batch)
    return logits, lengths, check_symbol("blank", blank, vocabulary)


def frames(
    logits: Float[Array, "T B v"], lengths: Integer[Array, "B"], blank: int
) -> Float[Array, "T B v"]:
    """The log-probabilities of all frames; in the padding, the blank is certain.

    A certain blank changes neither the labels nor their probability.
    """
    time, _, vocabulary = logits.shape
    steps = jnp.arange(time)
    valid = (steps[:, None] < lengths[None, :].astype(steps.dtype))[..., None]
    # zero the padding first: a NaN there would make gradients NaN even where it is masked
    logits = at_least_float32(jnp.where(valid, logits, jnp.zeros_like(logits)))
    log_p = jax.nn.log_softmax(logits, axis=-1)
    certain = jnp.where(jnp.arange(vocabulary) == blank, 0.0, -jnp.inf)
    return jnp.where(valid, log_p, certain[None, None].astype(log_p.dtype))
