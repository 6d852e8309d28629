"""Strings of digits: decoding, and how many digits are wrong."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrnn import decode

from .batches import Batch
from .model import BLANK, Scores


def decoded(
    scores: Scores, params: Any, batch: Batch, width: int
) -> dict[str, list[list[int]]]:
    """The digits of each string, by the best path and by a beam search."""
    ys = scores(params, batch.frames, batch.lengths)
    lengths = jnp.asarray(batch.lengths)
    path = decode.ctc_greedy(ys, lengths, blank=BLANK)
    beams = decode.ctc_beam_search(ys, lengths, width=width, blank=BLANK)
    return {
        "best path": _lists(path.symbols, path.lengths),
        "beam search": _lists(beams.symbols[..., 0], beams.lengths[:, 0]),
    }


def _lists(symbols: Any, lengths: Any) -> list[list[int]]:
    rows = zip(np.asarray(symbols).T, np.asarray(lengths), strict=True)
    return [row[:length].tolist() for row, length in rows]


def label_error_rate(found: list[list[int]], want: list[list[int]]) -> float:
    """Insertions, deletions and substitutions, divided by the number of digits spoken."""
    errors = sum(distance(f, w) for f, w in zip(found, want, strict=True))
    return errors / sum(map(len, want))


def distance(found: list[int], want: list[int]) -> int:
    """The smallest number of insertions, deletions and substitutions between two strings.

    Reference: Levenshtein 1966, Soviet Physics Doklady 10, 707-710.
    """
    row = list(range(len(want) + 1))
    for i, symbol in enumerate(found, 1):
        before, row = row, [i]
        for j, other in enumerate(want, 1):
            swap = before[j - 1] + (symbol != other)
            row.append(min(swap, before[j] + 1, row[-1] + 1))
    return row[-1]
