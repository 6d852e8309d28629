"""Prefix beam search for connectionist temporal classification (CTC)."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer

from .._sharding import aligned
from ._checks import check_count
from ._common import Beams
from ._ctc import check_ctc, frames


def ctc_beam_search(
    logits: Float[Array, "T B v"],
    lengths: Integer[Array, "B"] | None = None,
    *,
    width: int,
    blank: int = 0,
) -> Beams:
    """Searches for the most probable labels of CTC outputs, keeping `width` prefixes.

        p(labels) = sum over all paths with collapse(path) = labels of
            prod_t softmax(logits_t)[path_t]

    Each prefix has two probabilities, of its paths that end in a blank and of those that
    do not. Paths that lead to the same prefix are added while both are kept. With a
    `width` of at least the number of prefixes, the result is exact; a smaller one gives a
    lower bound of each probability.

    Args:
        logits: scores of each symbol at each frame; they need not be normalized.
        lengths: the number of valid frames of each sequence, from 0 to T; None for T.
        width: the number of prefixes to keep.
        blank: the symbol that means "no label".

    Returns:
        `Beams`: symbols `(T, B, width)`, lengths `(B, width)` and scores `(B, width)`, which
        are log-probabilities; the best is first.

    Raises:
        TypeError, ValueError: if an argument is invalid.

    Example:
        >>> import jax.numpy as jnp, jaxrnn
        >>> logits = jnp.log(jnp.array([[[0.6, 0.4]], [[0.6, 0.4]]]))  # (T, B, v)
        >>> beams = jaxrnn.decode.ctc_beam_search(logits, width=2)
        >>> beams.symbols[:, 0, 0].tolist(), beams.lengths[0].tolist()
        ([1, 0], [1, 0])
        >>> round(float(jnp.exp(beams.scores[0, 0])), 2)  # 0.4 0.4 + 2 (0.6 0.4)
        0.64
        >>> jaxrnn.decode.ctc_greedy(logits).lengths.tolist()  # the best path is blank
        [0]

    Reference: Graves 2012, doi:10.1007/978-3-642-24797-2; Hannun et al. 2014,
    arXiv:1408.2873.
    """
    logits, lengths, blank = check_ctc(logits, lengths, blank)
    width = check_count("width", width)
    return _search(logits, lengths, width=width, blank=blank)


class _Prefixes(NamedTuple):
    """The prefixes of one sequence, the most probable first."""

    symbols: Int[Array, "width T"]
    lengths: Int[Array, "width"]
    last: Int[Array, "width"]  # the last label; the blank for the empty prefix
    common: Int[
        Array, "width width"
    ]  # the number of first labels that two prefixes share
    blank: Float[Array, "width"]  # log-probability of the paths that end in a blank
    label: Float[Array, "width"]  # log-probability of those that end in the last label

    @property
    def total(self) -> Float[Array, "width"]:
        return _log_add(self.blank, self.label)


def _log_add(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    """`logaddexp`, with a gradient of 0 rather than NaN where both are -inf."""
    never = jnp.maximum(a, b) == -jnp.inf
    a, b = (jnp.where(never, jnp.zeros_like(x), x) for x in (a, b))
    return jnp.where(never, -jnp.inf, jnp.logaddexp(a, b))


@partial(jax.jit, static_argnames=("width", "blank"))
def _search(logits, lengths, *, width, blank):
    log_p = frames(logits, lengths, blank)

    def one(log_p):
        # inside shard_map, the carry must vary over the same mesh axes as the results
        first = aligned(_first(log_p, width, blank), log_p)
        last, _ = jax.lax.scan(
            lambda prefixes, frame: (_advance(prefixes, frame, blank), None),
            first,
            log_p,
        )
        empty = last.total == -jnp.inf  # there are fewer than `width` prefixes
        symbols = jnp.where(empty[:, None], blank, last.symbols)
        return Beams(symbols, jnp.where(empty, 0, last.lengths), last.total)

    beams = jax.vmap(one, in_axes=1)(log_p)
    return beams._replace(symbols=jnp.transpose(beams.symbols, (2, 0, 1)))


def _first(log_p, width, blank):
    """The empty prefix, with probability 1."""
    never = jnp.full(width, -jnp.inf, log_p.dtype)
    return _Prefixes(
        symbols=jnp.full((width, len(log_p)), blank, jnp.int32),
        lengths=jnp.zeros(width, jnp.int32),
        last=jnp.full(width, blank, jnp.int32),
        common=jnp.zeros((width, width), jnp.int32),
        blank=jnp.where(jnp.arange(width) == 0, jnp.zeros_like(never), never),
        label=never,
    )


def _advance(prefixes, frame, blank):
    """One frame: the best of the prefixes and of their extensions by one label."""
    width, vocabulary = len(prefixes.last), len(frame)
    in_blank = prefixes.total + frame[blank]
    in_label = prefixes.label + frame[prefixes.last]
    extended = _extended(prefixes, frame, blank)

    # an extension that equals another prefix is added to it
    parent, found = _parents(prefixes)
    merged = jnp.where(found, extended[parent, prefixes.last], -jnp.inf)
    in_label = _log_add(in_label, merged)
    row = jnp.where(found, parent, width)
    extended = extended.at[row, prefixes.last].set(-jnp.inf, mode="drop")

    candidates = jnp.concatenate([_log_add(in_blank, in_label), extended.ravel()])
    best = jax.lax.top_k(candidates, width)[1]
    longer = best >= width
    source = jnp.where(longer, (best - width) // vocabulary, best)
    label = jnp.where(longer, (best - width) % vocabulary, prefixes.last[source])
    return _Prefixes(
        **_texts(prefixes, source, label, longer),
        blank=jnp.where(longer, -jnp.inf, in_blank[source]),
        label=jnp.where(longer, candidates[best], in_label[source]),
    )


def _extended(prefixes, frame, blank):
    """The log-probability of each prefix extended by each label, `(width, v)`.

    Only a blank separates a label from its repetition.
    """
    labels = jnp.arange(len(frame))
    repeated = labels[None, :] == prefixes.last[:, None]
    before = jnp.where(repeated, prefixes.blank[:, None], prefixes.total[:, None])
    return jnp.where(labels[None, :] == blank, -jnp.inf, before + frame[None, :])


def _parents(prefixes) -> tuple[Int[Array, "width"], Bool[Array, "width"]]:
    """The index of the prefix that is one label shorter, and whether it is there."""
    n, possible = prefixes.lengths, prefixes.total != -jnp.inf
    is_parent = (prefixes.common == n[:, None]) & (n[None, :] == n[:, None] + 1)
    is_parent &= possible[:, None] & possible[None, :]
    return jnp.argmax(is_parent, axis=0), jnp.any(is_parent, axis=0)


def _texts(prefixes, source, label, longer):
    """The labels of the new prefixes, and how many of them each two share."""
    n = prefixes.lengths[source]
    position = jnp.arange(prefixes.symbols.shape[1])
    added = longer[:, None] & (position[None, :] == n[:, None])
    symbols = jnp.where(added, label[:, None], prefixes.symbols[source])
    lengths = n + longer.astype(n.dtype)

    # one label was added at most, so two prefixes share at most one label more
    common = prefixes.common[source[:, None], source[None, :]]
    following = jnp.take_along_axis(symbols, common, axis=1, mode="clip")
    shorter = jnp.minimum(lengths[:, None], lengths[None, :])
    more = (common < shorter) & (following == following.T)
    common += more.astype(common.dtype)
    return {"symbols": symbols, "lengths": lengths, "last": label, "common": common}
