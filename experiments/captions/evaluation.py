"""The names that a trained model writes, those of the nearest pictures, and measures."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from sacrebleu.metrics import BLEU
from sklearn.neighbors import NearestNeighbors

from jaxrnn import decode

from .data import END, Emoji, Vocabulary
from .model import Captioner


LONGEST = 16
"""Words of the longest name that is written, its end included."""


def write(
    model: Captioner, params: Any, vocabulary: Vocabulary, emoji: Emoji, width: int
) -> dict[str, list[str]]:
    """The names of the pictures of all tests by the way of decoding; training has none."""
    tests = np.flatnonzero(emoji.parts != "train")
    state = model.state(params, jnp.asarray(emoji.pictures[tests]))
    given = model.writer, params[1], state, jnp.full(len(tests), END)
    greedy = decode.greedy(*given, steps=LONGEST, stop=END).symbols
    beams = decode.beam_search(*given, width=width, steps=LONGEST, stop=END).symbols
    written = {}
    for way, symbols in (("greedy", greedy), ("beam search", beams[:, :, 0])):
        names = np.full(len(emoji.names), "", object)
        names[tests] = vocabulary.decode(np.asarray(symbols))
        written[way] = names.tolist()
    return written


def nearest_names(train: Emoji, emoji: Emoji) -> list[str]:
    """The name of the training picture whose pixels are nearest, for each picture."""
    flat = lambda pictures: pictures.reshape(len(pictures), -1)
    model = NearestNeighbors(n_neighbors=1).fit(flat(train.pictures))
    nearest = model.kneighbors(flat(emoji.pictures), return_distance=False)
    return [train.names[i] for i in nearest[:, 0]]


def exact(emoji: Emoji, names: list[str], chosen: np.ndarray) -> float:
    """The share of names that are right in every word, in %."""
    return 100 * float(np.mean([names[i] == emoji.names[i] for i in chosen]))


def bleu(emoji: Emoji, names: list[str], chosen: np.ndarray) -> float:
    """BLEU of the corpus, 0 to 100; short names count with the orders that they have."""
    measure = BLEU(tokenize="none", effective_order=True, force=True)
    references = [[emoji.names[i] for i in chosen]]
    return float(measure.corpus_score([names[i] for i in chosen], references).score)
