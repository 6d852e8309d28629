"""The measures of one split: perplexity and replies, of the network and of simpler methods."""

from typing import Any, NamedTuple

import numpy as np
import sacrebleu

from ..common import Result
from .baselines import KneserNey, nearest
from .data import Conversation, Split, Vocabulary, in_reply
from .model import Talker, make_nats, padded
from .speak import distinct, replies


class Trained(NamedTuple):
    """A language model of conversations."""

    model: Talker
    params: Any
    vocabulary: Vocabulary


PERPLEXITY = "perplexity per word of held-out replies"
RECALL = "training lines answered as in training"


def results(
    found: list[dict[str, float]],
    recited: dict[str, float],
    parameters: int,
    seconds: tuple[float, float],
) -> tuple[Result, ...]:
    """The rows of the table: each measure, and those of simpler methods.

    `found` are the measures of the splits, `recited` those of the model that recites.
    """

    def row(
        of: list[dict[str, float]], measure: str, name: str, *baselines: str
    ) -> Result:
        means = {
            b.split(": ")[-1]: float(np.mean([one[b] for one in of])) for b in baselines
        }
        return Result(
            "reply to a line (many-to-many)"
            if of is found
            else "the same, learned by heart",
            "GRU",
            parameters,
            measure,
            tuple(one[name] for one in of),
            seconds[of is not found],
            goal="below Kneser-Ney" if name == "GRU" and of is found else "",
            baselines=means,
            digits=1 if name in ("GRU", "mixed", "chrF") else 2,
            headline=name == "GRU" and of is found,
        )

    nearest, people = "distinct-2: nearest line", "distinct-2: people"
    return (
        row(found, PERPLEXITY, "GRU", "Kneser-Ney", "unigram"),
        row(found, f"{PERPLEXITY}, mixed with Kneser-Ney", "mixed", "Kneser-Ney"),
        row(found, "chrF of held-out replies", "chrF", "chrF: nearest line"),
        row(found, "distinct-2 of held-out replies", "distinct-2", nearest, people),
        row(found, RECALL, "recall"),
        row([recited], PERPLEXITY, "GRU", "Kneser-Ney"),
        row([recited], "chrF of held-out replies", "chrF", "chrF: nearest line"),
        row([recited], "distinct-2 of held-out replies", "distinct-2", nearest, people),
        row([recited], RECALL, "recall"),
    )


def measure(bot: Trained, parts: Split, orders: tuple[int, ...]) -> dict[str, Any]:
    """All measures of one split."""
    return {
        **perplexities(bot, parts, orders),
        **held_out_replies(bot, parts),
        "recall": recall(bot, parts.train),
    }


def perplexities(
    bot: Trained, parts: Split, orders: tuple[int, ...]
) -> dict[str, float]:
    """Perplexities of the words of the test replies; settings are those of the validation."""
    train, val, test = (
        [bot.vocabulary.conversation(c) for c in part] for part in parts
    )
    grams = {n: KneserNey(train, n, len(bot.vocabulary)) for n in (1, *orders)}

    def of_grams(order: int, part: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([grams[order].nats(c)[in_reply(c)] for c in part])

    def of_network(part: list[np.ndarray]) -> np.ndarray:
        return make_nats(bot.model, padded(part, 16))(bot.params)

    order = min(orders, key=lambda n: of_grams(n, val).mean())
    ours, theirs = of_network(val), of_grams(order, val)
    shares = np.arange(1, 10) / 10
    share = min(shares, key=lambda s: mixed(ours, theirs, s).mean())
    ours, theirs = of_network(test), of_grams(order, test)
    named = {
        "unigram": of_grams(1, test),
        "Kneser-Ney": theirs,
        "GRU": ours,
        "mixed": mixed(ours, theirs, share),
    }
    settings = {"order": order, "share": float(share), "words": len(ours)}
    return {**{n: float(np.exp(v.mean())) for n, v in named.items()}, **settings}


def mixed(ours: np.ndarray, theirs: np.ndarray, share: float) -> np.ndarray:
    """Nats under the mixture of two models."""
    return -np.log(share * np.exp(-ours) + (1 - share) * np.exp(-theirs))


def held_out_replies(bot: Trained, parts: Split) -> dict[str, float]:
    """How close the replies to test lines are to those of people, and how varied."""
    before, lines, wanted = [], [], []
    for conversation in parts.test:
        for t in range(1, len(conversation)):
            before.append(bot.vocabulary.conversation(conversation[:t]))
            lines.append(conversation[t - 1])
            wanted.append(conversation[t])
    said, found = replies(*bot, before), nearest(parts.train, lines)
    chrf = lambda given: sacrebleu.corpus_chrf(given, [wanted]).score
    return {
        "chrF": chrf(said),
        "chrF: nearest line": chrf(found),
        "distinct-2": distinct(said),
        "distinct-2: nearest line": distinct(found),
        "distinct-2: people": distinct(wanted),
    }


def recall(bot: Trained, train: list[Conversation]) -> float:
    """The fraction of first lines of training conversations with a reply from the training."""
    answers: dict[str, set[str]] = {}
    for line, reply, *_ in train:
        answers.setdefault(line, set()).add(reply)
    before = [bot.vocabulary.conversation((line,)) for line in answers]
    said = replies(*bot, before)
    right = [
        reply in known for reply, known in zip(said, answers.values(), strict=True)
    ]
    return float(np.mean(right))
