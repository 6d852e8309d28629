"""Spoken digits: the loader, the spectra, decoding, and networks that learn tones."""

import wave

import jax
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.common import DataError
from experiments.speech import batches, model, strings
from experiments.speech.data import RATE, Recording, load, read
from experiments.speech.features import Voice, log_mel, masked, random_voice, stacked
from experiments.speech.splits import UNSEEN, split

from .helpers import losses, small, values


def write(file, samples, rate: int = RATE, channels: int = 1, width: int = 2) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(file), "wb") as opened:
        opened.setnchannels(channels)
        opened.setsampwidth(width)
        opened.setframerate(rate)
        opened.writeframes(np.asarray(samples, "<i2").tobytes())


def tone(digit: int, seconds: float, pitch: float = 1.0) -> np.ndarray:
    """A digit of a test: a tone whose frequency belongs to the digit."""
    time = np.arange(int(seconds * RATE)) / RATE
    return 8000 * np.sin(2 * np.pi * pitch * (200 + 330 * digit) * time)


@pytest.fixture
def folder(tmp_path):
    """Four digits by two speakers, 10 recordings each."""
    random = np.random.default_rng(0)
    folder = tmp_path / "data" / "fsdd" / "recordings"
    for digit in range(4):
        for speaker, pitch in (("ada", 1.0), ("bob", 1.05)):
            for take in range(10):
                samples = tone(digit, random.uniform(0.1, 0.2), pitch)
                noisy = samples + 200 * random.normal(size=len(samples))
                write(folder / f"{digit}_{speaker}_{take}.wav", noisy)
    return folder


def test_recordings_are_read_with_their_labels(folder):
    recordings = load(folder.parents[1])
    assert len(recordings) == 80
    one = recordings[-1]
    assert (one.digit, one.speaker, one.take) == (3, "bob", 9)
    assert np.sqrt(np.mean(one.samples**2)) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f: write(f, tone(1, 0.2), rate=16000), "16000 Hz, 1 channels"),
        (lambda f: write(f, tone(1, 0.2), channels=2), "2 channels"),
        (lambda f: write(f, tone(1, 0.2), width=1), "8 bits"),
        (lambda f: write(f, []), "0 samples"),
        (lambda f: write(f, np.zeros(2000)), "silent"),
        (lambda f: f.write_bytes(f.read_bytes()[:-100]), "its header promises"),
        (lambda f: f.write_bytes(b"not a sound"), "is not a WAV file"),
        (lambda f: f.write_bytes(b""), "is not a WAV file"),
    ],
)  # fmt: skip
def test_broken_files_are_refused(folder, change, message):
    file = folder / "1_ada_0.wav"
    change(file)
    with pytest.raises(DataError, match=message) as error:
        load(folder.parents[1])
    assert "1_ada_0.wav" in str(error.value)


def test_names_without_labels_and_empty_folders_are_refused(folder, tmp_path, capsys):
    (folder / "1_ada_0.wav").rename(folder / "one.wav")
    with pytest.raises(DataError, match="expected is a name"):
        read(folder / "one.wav")
    (tmp_path / "empty" / "fsdd" / "recordings").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no \.wav file"):
        load(tmp_path / "empty")
    given = ["--data-dir", str(tmp_path), "--runs", str(tmp_path / "runs")]
    assert main(["run", "speech", *given]) == 2
    assert "Get the data from github.com/Jakobovski" in capsys.readouterr().err


def sounds() -> list[Recording]:
    return [
        Recording(tone(d, 0.1).astype(np.float32), d, speaker, take)
        for d in range(2)
        for speaker in ("ada", "bob", UNSEEN)
        for take in range(12)
    ]


def test_no_recording_is_both_trained_on_and_tested():
    for validate in (False, True):
        known, left_out = split(sounds(), validate=validate)
        own = lambda rs: {(r.digit, r.speaker, r.take) for r in rs}
        for part in (known, *left_out.values()):
            assert not own(part.train) & own(part.test)
        for name, part in left_out.items():
            assert {r.speaker for r in part.test} == {name}
            assert name not in {r.speaker for r in part.train}
    used = [*known.train, *known.test, *left_out["ada"].train, *left_out["ada"].test]
    assert all(r.take >= 5 and r.speaker != UNSEEN for r in used)
    assert {r.take for r in known.test} == set(range(5, 10))


def test_a_tone_is_in_the_band_of_its_frequency_and_follows_the_voice():
    heard = lambda digit, **voice: log_mel(tone(digit, 0.3), 32, Voice(**voice))
    peak = lambda mel: int(mel.mean(axis=0).argmax())
    assert peak(heard(1)) < peak(heard(4)) < peak(heard(9))
    assert peak(heard(4, speed=1.3)) > peak(heard(4))
    assert peak(heard(4, tract=1.3)) > peak(heard(4))
    assert len(heard(4, stretch=2.0)) == pytest.approx(2 * len(heard(4)), abs=2)
    assert len(heard(4, speed=2.0)) == pytest.approx(len(heard(4)) / 2, abs=2)


def test_silence_and_loudness_have_no_influence():
    mel = log_mel(tone(3, 0.3) / 5600, 32)
    louder = log_mel(tone(3, 0.3), 32, Voice(noise=56.0))
    np.testing.assert_allclose(louder, mel, atol=0.05)
    later = log_mel(tone(3, 0.3) / 5600, 32, Voice(silence=(800, 800)))
    assert later[:7].max() == later[-7:].max() == 0  # 800 samples are 10 frames
    np.testing.assert_allclose(later[12 : 12 + 20], mel[2 : 2 + 20], atol=0.1)


def test_masks_and_stacking_keep_what_they_do_not_hide():
    mel = np.arange(1.0, 7 * 12 + 1).reshape(7, 12).astype(np.float32)
    frames, steps = stacked(mel, 2, 5)
    assert steps == 3 and frames.shape == (5, 24)
    np.testing.assert_array_equal(frames[:3].reshape(6, 12), mel[:6])
    assert not frames[3:].any()
    assert stacked(mel, 2, 2)[1] == 2
    hidden = masked(mel, np.random.default_rng(1))
    np.testing.assert_array_equal(hidden[hidden != 0], mel[hidden != 0])
    assert 0 < (hidden == 0).mean() < 0.6


def test_voices_stay_within_their_strength():
    random = np.random.default_rng(0)
    voices = [random_voice(random, 0.2) for _ in range(100)]
    factors = np.array([voice[:3] for voice in voices])
    assert 1 / 1.2 <= factors.min() < 0.9 and 1.1 < factors.max() <= 1.2


def test_strings_are_by_one_speaker_and_batches_depend_on_their_position_alone():
    recordings = sounds()
    sound = batches.join(recordings, 5, np.random.default_rng(0))
    assert len(sound.samples) >= 800 * len(sound.digits)
    shape = batches.Shape(8, 2, 60)
    make = batches.random_strings(recordings, 3, 4, shape, 0.1, 0)
    for ours, again in zip(make(7), make(7), strict=True):
        np.testing.assert_array_equal(ours, again)
    assert not np.array_equal(make(7).frames, make(8).frames)
    assert make(7).labels.shape == (4, 3) and make(7).frames.shape == (60, 4, 16)


def test_distance_counts_insertions_deletions_and_substitutions():
    assert strings.distance([1, 2, 3], [1, 2, 3]) == 0
    assert strings.distance([1, 3], [1, 2, 3]) == 1
    assert strings.distance([1, 2, 2, 3], [1, 2, 3]) == 1
    assert strings.distance([4, 2], [1, 2, 3]) == 2
    assert strings.distance([], [1, 2]) == strings.distance([1, 2], []) == 2
    assert strings.label_error_rate([[1], [2]], [[1, 2, 3], [2]]) == 2 / 4


def test_the_loss_of_strings_is_the_probability_of_all_alignments():
    """Two steps and one label: the label may come first, second, or at both."""
    scores = lambda params, frames, lengths, key: params
    ys = np.random.default_rng(0).normal(size=(2, 1, 11)).astype(np.float32)
    loss = model.make_string_loss(scores)
    batch = batches.Batch(*map(jax.numpy.asarray, (ys, [2], [[4]], [1])))
    p = np.asarray(jax.nn.softmax(ys))[:, 0]
    blank = p[:, model.BLANK]
    want = p[0, 4] * p[1, 4] + p[0, 4] * blank[1] + blank[0] * p[1, 4]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        got, _ = loss(batch.frames, (), None, batch)
    assert float(got) == pytest.approx(-np.log(want), rel=1e-4)


def test_all_three_learn(folder, tmp_path):
    results, run = small("speech", tmp_path)
    known, new, string = results["rows"]
    chance = np.log(10)
    assert losses(run / "known" / "seed-0")[-1] < 0.5 * chance
    assert known["values"][0] > 0.7  # 1 in 4 by chance
    assert np.mean(new["values"]) > 0.7 and len(new["values"]) == 2
    assert losses(run / "strings")[-1] < 0.5 * losses(run / "strings")[0]
    assert string["values"][0] < 0.9  # 1 if nothing is recognized
    assert (
        0 <= min(values(results, "accuracy")) <= max(values(results, "accuracy")) <= 1
    )
    assert set(results["facts"]["left out"]["1-NN"]) == {"ada", "bob"}
