"""Translation, small: a language whose words stand in another order."""

import random

import numpy as np
import pytest

from experiments.common import DataError
from experiments.translation import data
from experiments.translation.data import EDGE, UNKNOWN, Pairs, Shuffled, Vocabulary
from experiments.translation.translate import bleu, by_length

from .helpers import losses, small


COLORS = {"rotes": "red", "blaues": "blue", "altes": "old"}
THINGS = {"haus": "house", "auto": "car", "pferd": "horse", "boot": "boat"}


def sentence(pick: random.Random) -> tuple[str, str]:
    """One or two things; the color comes last in German and first in English."""
    chosen = [
        (pick.choice(sorted(COLORS)), pick.choice(sorted(THINGS)))
        for _ in range(pick.randint(1, 2))
    ]
    german = " und ".join(f"{thing} {color}" for color, thing in chosen)
    english = " and ".join(f"a {COLORS[c]} {THINGS[t]}" for c, t in chosen)
    return german, english


def write(folder, counts=(160, 16, 24)):
    folder.mkdir(parents=True)
    pick = random.Random(0)
    for name, count in zip(("train", "val", "test_2016_flickr"), counts, strict=True):
        pairs = [sentence(pick) for _ in range(count)]
        for column, language in enumerate(("de", "en")):
            lines = "".join(f"{pair[column]}\n" for pair in pairs)
            (folder / f"{name}.lc.norm.tok.{language}").write_text(lines)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "data" / "multi30k-de-en")


def test_it_learns_to_translate(folder):
    results, run = small("translation", folder.parents[1])
    (row,) = results["rows"]
    assert row["values"][0] > 60 > row["baselines"]["copy of the source"]
    assert np.mean(losses(run / "training")[-5:]) < 0.5
    assert {"greedy", "nearest sentence", "scheduled sampling"} <= set(row["baselines"])
    assert results["facts"]["chosen"]["tried"]
    assert len(losses(run / "scheduled-sampling")) == 5


def test_pairs_as_symbols():
    split = data.Split([["ein", "haus"], ["haus"]], [["a", "house", "here"], ["house"]])
    de, en = (Vocabulary(sentences, 1) for sentences in split)
    assert len(de) == 4 and de.symbols(["haus", "fremd"]) == [3, UNKNOWN]
    assert len(Vocabulary(split.de, 2)) == 3  # only "haus" occurs twice
    pairs = Pairs(split, de, en, (2,))
    assert pairs.shape.tolist() == [1, 0]  # with the edge, 4 steps and 2
    batch = pairs.batch(np.array([0, -1]))
    np.testing.assert_array_equal(batch.sources.T, [[2, 3, 0, 0], [0, 0, 0, 0]])
    a, here, house = en.symbols(["a", "here", "house"])
    assert batch.inputs[:, 0].tolist() == [EDGE, a, house, here]
    assert batch.targets[:, 0].tolist() == [a, house, here, EDGE]
    assert batch.lengths.tolist() == [4, 0] and batch.source_lengths.tolist() == [2, 0]


def test_an_epoch_has_each_pair_once_and_depends_on_its_position_alone(folder):
    split = data.load(folder.parent)["train"]
    de, en = (Vocabulary(sentences, 1) for sentences in split)
    pairs = Pairs(split, de, en, (4,))
    batches = Shuffled(pairs, 32, seed=0)
    assert batches.per_epoch == 5
    epochs = [[batches[5 * epoch + i] for i in range(5)] for epoch in (0, 1, 0)]
    for epoch in epochs:
        lengths = np.concatenate([batch.lengths for batch in epoch])
        assert sorted(lengths) == sorted(len(english) + 1 for english in split.en)
    pairs_of = zip(epochs[0], epochs[2], strict=True)
    same = [np.array_equal(a.inputs, b.inputs) for a, b in pairs_of]
    assert all(same)
    sources = [np.concatenate([b.sources[0] for b in epoch]) for epoch in epochs]
    assert not np.array_equal(sources[0], sources[1])
    assert {batch.inputs.shape[0] for batch in epochs[0]} == {4, 8}
    in_order = np.concatenate(pairs.in_order(48))
    assert sorted(in_order[in_order >= 0]) == list(range(160))


def test_bleu_of_a_known_case():
    reference = [["a", "man", "in", "a", "red", "hat"]]
    assert bleu(["a man in a red hat"], reference) == pytest.approx(100)
    assert bleu(["ein mann mit hut"], reference) == 0
    split = data.Split([["x"] * 3, ["x"] * 8], reference * 2)
    groups = by_length(["a man in a red hat", "ein mann"], split, (5,))
    assert [group[:2] for group in groups] == [("1-5", 1), ("over 5", 1)]
    assert [group[2] for group in groups] == pytest.approx([100, 0])


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("val.lc.norm.tok.en", b"one line\n", "has 4 lines and .* has 1"),
        ("val.lc.norm.tok.de", b"", "has no line"),
        ("val.lc.norm.tok.de", b"ein haus\n\nein\n", "no word in line 2"),
        ("val.lc.norm.tok.de", "größe".encode("latin-1"), "is not UTF-8"),
        ("train.lc.norm.tok.en", None, "Get the data from https"),
    ],
)
def test_broken_files_are_refused_in_words(tmp_path, file, content, message):
    folder = write(tmp_path / "multi30k-de-en", (4, 4, 4))
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        data.load(tmp_path)
    assert file in str(error.value)
