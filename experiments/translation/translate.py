"""Translations by beam search, their words, and BLEU."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import sacrebleu
from sklearn.feature_extraction.text import TfidfVectorizer

import jaxrnn
from jaxrnn import decode, training

from .data import EDGE, UNKNOWN, Pairs, Sentences, Split, Vocabulary
from .model import Translator


Words = list[list[list[int]]]
"""For each word of each sentence, its symbol, and the source position that it attends to."""


@partial(jax.jit, static_argnames=("model", "width", "steps"))
def search(
    model: Translator, params: Any, batch: Any, penalty: Any, *, width: int, steps: int
) -> tuple[Any, Any, Any]:
    """Symbols `(N, B)` and lengths `(B,)` of the best beams, and attention `(N, B, S)`."""
    state = model.read(params, batch.sources, batch.source_lengths)
    start = jnp.full(batch.sources.shape[1], EDGE, jnp.int32)
    beams = decode.beam_search(
        model.decoder, model.tied(params), state, start,
        width=width, steps=steps, stop=EDGE, length_penalty=penalty,
    )  # fmt: skip
    best = beams.symbols[:, :, 0]
    inputs = jnp.concatenate([start[None], best[:-1]])
    return best, beams.lengths[:, 0], model.weights(params, state, inputs)


@dataclass(frozen=True, eq=False)
class Task:
    """The sentences of one split, to be translated by a model."""

    model: Translator
    split: Split
    pairs: Pairs
    vocabulary: Vocabulary
    size: int

    def translate(self, params: Any, width: int, penalty: float = 0.0) -> Words:
        """The translation of every source, by beam search; a width of 1 is greedy."""
        found: Words = [[] for _ in range(len(self.pairs))]
        how = {"width": width, "steps": self.longest}
        for indices in self.pairs.in_order(self.size):
            batch = self.pairs.batch(indices)
            given = search(self.model, params, batch, np.float32(penalty), **how)
            symbols, lengths, weights = jax.device_get(given)
            sources = weights.argmax(axis=-1)
            for b, index in enumerate(indices):
                if index >= 0:
                    both = np.stack([symbols[:, b], sources[:, b]], axis=1)
                    found[index] = both[: lengths[b]].tolist()
        return found

    @property
    def longest(self) -> int:
        """The largest number of words of a translation."""
        return 10 + 3 * max(len(source) for source in self.split.de) // 2

    def text(self, words: Words, copy: bool) -> list[str]:
        """Translations as text; `copy` takes the source word that an unknown one attends to."""

        def word(symbol: int, source: str) -> str:
            return (
                source if copy and symbol == UNKNOWN else self.vocabulary.words[symbol]
            )

        return [
            " ".join(word(symbol, source[position]) for symbol, position in sentence)
            for sentence, source in zip(words, self.split.de, strict=True)
        ]

    def bleu(self, hypotheses: list[str]) -> float:
        """BLEU of translations of all sentences."""
        return bleu(hypotheses, self.split.en)

    def perplexity(self, params: Any) -> float:
        """Perplexity of the English sentences, with their ends, given the German ones."""
        batches = (self.pairs.batch(i) for i in self.pairs.in_order(self.size))
        parts = [nats(self.model, params, batch) for batch in batches]
        total, symbols = np.sum(jax.device_get(parts), axis=0)
        return float(np.exp(total / symbols))


@partial(jax.jit, static_argnames="model")
def nats(model: Translator, params: Any, batch: Any) -> tuple[Any, Any]:
    """The negative log-likelihood of the targets of a batch, and their number."""
    state = model.read(params, batch.sources, batch.source_lengths)
    _, logits = jaxrnn.unroll(model.decoder, model.tied(params), batch.inputs, state)
    mask = training.valid_steps(batch.lengths, len(batch.targets))
    symbols = jnp.sum(mask).astype(logits.dtype)
    return training.cross_entropy(logits, batch.targets, mask) * symbols, symbols


def bleu(hypotheses: list[str], references: Sentences) -> float:
    """Corpus BLEU of sentences that are tokenised already."""
    joined = [" ".join(reference) for reference in references]
    score = sacrebleu.corpus_bleu(hypotheses, [joined], tokenize="none", force=True)
    return score.score


def nearest(train: Split, sources: Sentences) -> list[str]:
    """The translation of the training sentence that is most similar to each source."""
    plain: Callable[[Any], Any] = lambda sentence: sentence
    tfidf = TfidfVectorizer(analyzer=plain)
    known = tfidf.fit_transform(train.de)
    found = (tfidf.transform(sources) @ known.T).tocsr()
    return [" ".join(train.en[found[i].argmax()]) for i in range(len(sources))]


def choose(
    val: Task, fitted: dict[str, Any], width: int, penalties: tuple[float, ...]
) -> dict[str, Any]:
    """The settings of the highest BLEU on the validation sentences, and all of them."""
    tried = []
    for name, params in fitted.items():
        for penalty in penalties:
            words = val.translate(params, width, penalty)
            for copy in (False, True):
                bleu = round(val.bleu(val.text(words, copy)), 2)
                tried.append(
                    {"training": name, "penalty": penalty, "copy": copy, "bleu": bleu}
                )
    return {**max(tried, key=lambda setting: setting["bleu"]), "tried": tried}


def test(
    task: Task, train: Split, fitted: dict[str, Any], width: int, chosen: dict[str, Any]
) -> dict[str, list[str]]:
    """Translations of the test sentences by each method; the first is the chosen one."""
    copy, params = chosen["copy"], dict(fitted)
    beam = {n: task.translate(p, width, chosen["penalty"]) for n, p in params.items()}
    best, greedy = chosen["training"], task.translate(params.pop(chosen["training"]), 1)
    return {
        "beam search": task.text(beam[best], copy),
        "greedy": task.text(greedy, copy),
        f"unknown words {'kept' if copy else 'copied'}": task.text(
            beam[best], not copy
        ),
        **{name: task.text(beam[name], copy) for name in params},
        "nearest sentence": nearest(train, task.split.de),
        "copy of the source": [" ".join(source) for source in task.split.de],
    }


def by_length(
    hypotheses: list[str], split: Split, edges: tuple[int, ...]
) -> list[tuple[str, int, float]]:
    """BLEU of the sentences of each range of source lengths: (range, sentences, BLEU)."""
    lengths = np.array([len(source) for source in split.de])
    found = []
    for low, high in zip((0, *edges), (*edges, 10**6), strict=True):
        inside = np.flatnonzero((lengths > low) & (lengths <= high))
        if len(inside):
            name = f"{low + 1}-{high}" if high < 10**6 else f"over {low}"
            score = bleu([hypotheses[i] for i in inside], [split.en[i] for i in inside])
            found.append((name, len(inside), score))
    return found


def example(
    task: Task, params: Any, width: int
) -> tuple[list[str], list[str], np.ndarray]:
    """A test sentence, its translation, and the attention weights between their words.

    The sentence is the first one of 11 to 14 words; the first of all if there is no such.
    """
    fitting = [i for i, source in enumerate(task.split.de) if 11 <= len(source) <= 14]
    index = (fitting or [0])[0]
    batch = task.pairs.batch(np.array([index]))
    steps = task.longest
    symbols, lengths, weights = search(
        task.model, params, batch, np.float32(0), width=width, steps=steps
    )
    source, n = task.split.de[index], int(lengths[0])
    words = [task.vocabulary.words[symbol] for symbol in symbols[:n, 0].tolist()]
    return source, words, np.asarray(weights)[:n, 0, : len(source)]


def samples(split: Split, translations: list[str]) -> list[dict[str, str]]:
    """The first five sentences, with the reference and the translation."""
    return [
        {"source": " ".join(de), "reference": " ".join(en), "translation": found}
        for de, en, found in zip(
            split.de[:5], split.en[:5], translations[:5], strict=True
        )
    ]
