"""Sentiment: the files are checked, batches have every sentence, and the model learns."""

import numpy as np
import pytest

from experiments.common import DataError
from experiments.sentiment.data import UNKNOWN, Sentences, Vocabulary, load

from .helpers import losses, small


def write(folder, count: int = 40) -> None:
    """Sentences in which one word decides, in the two encodings that occur."""
    rng = np.random.default_rng(0)
    folder = folder / "rt-polarity"
    folder.mkdir(parents=True)
    for name, word, encoding in (
        ("neg", "dull", "latin-1"),
        ("pos", "moving", "utf-8"),
    ):
        lines = [
            " ".join(
                rng.permutation(["a", "café", "film", ",", word])[: rng.integers(4, 6)]
            )
            + f" {word} ."
            for _ in range(count)
        ]
        (folder / f"rt-polarity.{name}").write_bytes("\n".join(lines).encode(encoding))


def test_both_encodings_are_read(tmp_path):
    write(tmp_path)
    sentences = load(tmp_path)
    assert len(sentences) == 80 and sentences.positive.sum() == 40
    assert all("café" in "".join(s.texts) for s in (sentences[:40], sentences[40:]))


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "rt-polarity.pos does not exist. Get the data from github.com"),
        (b"", "has 0 lines of text"),
        (b"a film\n" * 3, "has 3 lines of text"),
        (b"a\0b\n" * 30, "expected a sentence a line"),
    ],
)
def test_broken_files_are_refused(tmp_path, content, message):
    write(tmp_path)
    file = tmp_path / "rt-polarity" / "rt-polarity.pos"
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_rare_words_are_unknown_and_an_epoch_has_each_sentence_once():
    texts = np.array([f"word{i} the film " * (1 + i % 3) for i in range(20)], object)
    vocabulary = Vocabulary(texts)
    batch = vocabulary.encode(Sentences(texts, np.arange(20, dtype=np.int32)))
    assert batch.symbols.shape == (16, 20)
    assert (batch.symbols[0] == UNKNOWN).tolist() == [i % 3 == 0 for i in range(20)]
    for epoch in range(2):
        drawn = [batch.draw(5 * epoch + i, 4, 0) for i in range(5)]
        ids = np.concatenate([part.positive for part in drawn])
        assert sorted(ids.tolist()) == list(range(20))
        for part in drawn:
            np.testing.assert_array_equal(part.lengths, batch.lengths[part.positive])
            assert (part.symbols[part.lengths.max() :] == UNKNOWN).all()


def test_it_learns(tmp_path):
    write(tmp_path / "data")
    results, folder = small("sentiment", tmp_path)
    assert np.mean(losses(folder / "Dropout-words" / "fold-0")[-5:]) < 0.6 * np.log(2)
    (row,) = results["rows"]
    assert np.mean(row["values"]) > 90 and row["baselines"]
