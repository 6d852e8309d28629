"""The speakers of sequences: the loader, time warping, and a network that learns them."""

import jax
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.common import DataError
from experiments.vowels.baselines import distances
from experiments.vowels.data import Sequences, load, read_ts
from experiments.vowels.model import make_batches, make_model, make_scores

from .helpers import losses, small


HEADER = """#made by a test
@problemName Vowels
@dimensions 2
@equalLength false
@classLabel true a b c
@data
"""


def write(folder, part: str, sequences: list[tuple[np.ndarray, str]]) -> None:
    folder = folder / "japanese-vowels"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        ":".join([*(",".join(map(str, d)) for d in x.T), name]) for x, name in sequences
    ]
    file = folder / f"JapaneseVowels_{part}.ts"
    file.write_text(HEADER + "\n".join(lines) + "\n")


def speakers(number: int, seed: int) -> list[tuple[np.ndarray, str]]:
    """Each speaker moves between two places of its own, at any speed."""
    random = np.random.default_rng(seed)
    places = np.random.default_rng(0).normal(size=(3, 2, 2))
    sequences = []
    for i in range(number):
        when = np.linspace(0, 1, random.integers(3, 9))[:, None]
        start, end = places[i % 3]
        path = start + (end - start) * when + 0.3 * random.normal(size=(len(when), 2))
        sequences.append((path, "abc"[i % 3]))
    return sequences


def test_the_files_are_read_and_standardized(tmp_path):
    known, new = speakers(12, 1), speakers(7, 2)
    write(tmp_path, "TRAIN", known)
    write(tmp_path, "TEST", new)
    data = load(tmp_path)
    assert data.speakers == 3
    assert data.test.speakers.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert data.train.lengths.tolist() == [len(x) for x, _ in known]
    frames = np.concatenate(data.train.rows())
    np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(frames.std(axis=0), 1, atol=1e-5)
    raw = np.concatenate([x for x, _ in known])
    want = (new[3][0] - raw.mean(axis=0)) / raw.std(axis=0)
    np.testing.assert_allclose(data.test.rows()[3], want, atol=1e-5)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no @dimensions, @classLabel or @data"),
        (HEADER, "no sequence after @data"),
        (HEADER + "1,2:3,4:d", r"line 7: 2 dimensions and the class 'd'"),
        (HEADER + "1,2:a", r"line 7: 1 dimensions"),
        (HEADER + "1,2:3,4:a\n1,2:3:a", r"line 8: the dimensions have different lengths"),
        (HEADER + "1,2:3,x:a", "something that is not a number"),
        (HEADER + "1,2:3,nan:a", "not finite"),
        (HEADER + "1,2:3,4", r"1 dimensions and the class '3,4'"),
    ],
)  # fmt: skip
def test_broken_files_are_refused(tmp_path, text, message):
    file = tmp_path / "broken.ts"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_ts(file)


def test_parts_that_do_not_fit_are_refused(tmp_path):
    write(tmp_path, "TRAIN", speakers(3, 1))
    write(tmp_path, "TEST", speakers(3, 1))
    test = tmp_path / "japanese-vowels" / "JapaneseVowels_TEST.ts"
    test.write_text(test.read_text().replace("true a b c", "true a b c d"))
    with pytest.raises(DataError, match="differ"):
        load(tmp_path)


def test_missing_files_are_refused(tmp_path, capsys):
    given = ["--data-dir", str(tmp_path), "--runs", str(tmp_path / "runs")]
    assert main(["run", "vowels", *given]) == 2
    assert "Get the data from timeseriesclassification" in capsys.readouterr().err


def warping(x: np.ndarray, y: np.ndarray) -> float:
    """The definition: the smallest cost of all monotone alignments."""
    if len(x) == 1 or len(y) == 1:
        return float(np.sum((x - y) ** 2))
    parts = [(x[:-1], y[:-1]), (x[:-1], y), (x, y[:-1])]
    return float(np.sum((x[-1] - y[-1]) ** 2)) + min(warping(*part) for part in parts)


def test_warping_distances_are_the_smallest_of_all_alignments():
    random = np.random.default_rng(0)
    lengths = np.array([1, 4, 6])
    frames = random.normal(size=(6, 3, 2))
    others = Sequences(frames, lengths, np.arange(3))
    x = random.normal(size=(5, 2))
    want = [warping(x, row) for row in others.rows()]
    np.testing.assert_allclose(distances(x, others), want)


def test_batches_depend_on_their_position_alone_and_keep_whole_frames():
    frames = np.arange(1.0, 31).reshape(10, 3, 1)
    data = Sequences(frames, np.array([10, 6, 2]), np.arange(3))
    batch = make_batches(data, 3, noise=0.0, cut=4, seed=0)
    np.testing.assert_array_equal(batch(5).frames, batch(5).frames)
    assert not np.array_equal(batch(5).frames, batch(6).frames)
    for row, speaker in zip(batch(5).rows(), batch(5).speakers, strict=True):
        whole = data.rows()[speaker][:, 0].tolist()
        assert len(whole) - 4 <= len(row) and len(row) >= 1
        start = whole.index(row[0, 0])
        assert row[:, 0].tolist() == whole[start : start + len(row)]


def test_the_padding_does_not_reach_the_scores():
    model = make_model(2, 4, 3, 0.5)
    params = model.init(jax.random.key(0))
    frames = np.random.default_rng(0).normal(size=(6, 2, 2)).astype(np.float32)
    other = frames.copy()
    other[4:, 0] = np.nan
    lengths = np.array([4, 6], np.int32)
    scores = make_scores(model)
    want, got = scores(params, frames, lengths), scores(params, other, lengths)
    np.testing.assert_array_equal(want, got)


def test_it_learns(tmp_path):
    write(tmp_path / "data", "TRAIN", speakers(45, 1))
    write(tmp_path / "data", "TEST", speakers(30, 2))
    results, folder = small("vowels", tmp_path)
    (row,) = results["rows"]
    assert losses(folder / "seed-0")[-1] < 0.5 * np.log(3)  # chance is log 3
    assert row["values"][0] > 0.8
    assert 1 / 3 < row["baselines"]["1-NN, time warping"] <= 1
    by_frames = results["facts"]["accuracy by frames heard"]
    assert by_frames[-1] == pytest.approx(row["values"][0])
    assert len(by_frames) == 8


def test_cross_validation_does_not_see_the_test_part(tmp_path):
    write(tmp_path / "data", "TRAIN", speakers(12, 1))
    write(tmp_path / "data", "TEST", [(np.full((3, 2), 1e3), "a")] * 3)
    results, _ = small("vowels", tmp_path, "--folds", "2", "--updates", "3")
    assert len(results["rows"][0]["values"]) == 2
    assert results["rows"][0]["baselines"]["1-NN, time warping"] > 1 / 3
