"""Music: the loader, exact likelihoods, the baselines, MIDI files, and a small run."""

import json

import jax
import jax.numpy as jnp
import mido
import numpy as np
import pytest

from experiments.common import DataError
from experiments.music import data
from experiments.music.baselines import baselines
from experiments.music.generate import continued
from experiments.music.model import Factorised, Voices
from experiments.music.picture import held
from experiments.music.score import write_midi

from .helpers import losses, small, values


TUNE = [[48, 55, 64], [53, 60, 69, 72], [55, 62, 71], [48, 60, 67, 72], []]
PIECES = [[tuple(TUNE[(t + s) % 5]) for t in range(6 + s)] for s in range(4)]
NO_CHORD = np.eye(101, dtype=np.float32)[100]


def features(chord):
    """A chord as the networks read it: notes, pitch classes from A, and 0."""
    x = np.zeros(101, np.float32)
    for note in chord:
        x[note - 21] = x[88 + (note - 21) % 12] = 1
    return x


def write(tmp_path, content):
    path = tmp_path / "data" / data.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return tmp_path / "data"


def test_notes_are_read_sorted_and_floats_are_whole(tmp_path):
    split = {"train": [[[64, 48.0], []]], "valid": [[[60]]], "test": [[[61]]]}
    pieces = data.load(write(tmp_path, split))
    assert pieces == ([[(48, 64), ()]], [[(60,)]], [[(61,)]])
    batch = data.arrays([*pieces.train, *pieces.valid])
    assert batch.roll.shape == (2, 2, 88) and batch.lengths.tolist() == [2, 1]
    assert np.argwhere(batch.roll).tolist() == [[0, 0, 27], [0, 0, 43], [0, 1, 39]]
    assert batch.symbols[0, 0].tolist() == [27, 43, 88, 88, 88]


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "is not JSON"),
        ([], "an object with the keys"),
        ({"train": [], "valid": [], "test": []}, "'train' has to be a list"),
        ({"train": [[]], "valid": [], "test": []}, "piece 0 of 'train'.*at least one"),
        ({"train": [[[20]]], "valid": [], "test": []}, "from 21 to 108: 20"),
        ({"train": [[[60.5]]], "valid": [], "test": []}, "from 21 to 108: 60.5"),
        ({"train": [[["C"]]], "valid": [], "test": []}, "step 0.*: C"),
        ({"train": [[[60, 60]]], "valid": [], "test": []}, "a note occurs twice"),
        ({"train": [[[60, 61, 62, 63, 64]]], "valid": [], "test": []}, "at most 4"),
    ],
)
def test_broken_files_are_refused_in_words(tmp_path, content, message):
    with pytest.raises(DataError, match=f"(?s)quarter.json.*{message}"):
        data.load(write(tmp_path, content))


def test_a_missing_file_is_refused_with_its_source(tmp_path):
    with pytest.raises(DataError, match="JSB-Chorales-dataset"):
        data.load(tmp_path)


def test_batches_have_every_piece_once_an_epoch():
    batches = data.Batches(PIECES, 2, seed=0)
    seen = [n for p in (4, 5) for n in batches(p).lengths.tolist()]
    assert sorted(seen) == [6, 7, 8, 9]
    np.testing.assert_array_equal(batches(4).roll, batches(4).roll)
    with pytest.raises(DataError, match="--batch 5: give a number from 1 to 4"):
        data.Batches(PIECES, 5, seed=0)


def test_factorised_nats_are_those_of_single_steps():
    model = Factorised("GRU", 5, 0.5)
    params = model.init(jax.random.key(0))
    total = 0.0
    for piece in PIECES[:2]:
        state = model.layer.initial_state(params)
        x = NO_CHORD
        for chord in piece:
            state, logits = model.layer.step(params, state, jnp.asarray(x))
            x = features(chord)
            p = np.asarray(jax.nn.sigmoid(logits), np.float64)
            total -= np.sum(np.log(np.where(x[:88] > 0, p, 1 - p)))
    want = total / sum(map(len, PIECES[:2]))
    assert float(model.nats(params, data.arrays(PIECES[:2], 12))) == pytest.approx(
        want, rel=1e-5
    )


def test_nats_of_voices_are_those_of_single_notes():
    model = Voices("LSTM", 5, 0.5, units=4, embedding=3)
    params = model.init(jax.random.key(0))
    total = 0.0
    for piece in PIECES[:2]:
        over_time = model.time.initial_state(params.time)
        x = NO_CHORD
        for chord in piece:
            over_time, h = model.time.step(params.time, over_time, jnp.asarray(x))
            state = jax.tree.map(lambda s: s[0], model.initial(params, h[None]))
            symbol = model.START
            for following in [*(np.array(chord, int) - 21), data.STOP]:
                given = jnp.full((1, 1), symbol, jnp.int32)
                below = model.inputs(params, given, h[None])[0, 0]
                state, logits = model.notes.step(params.notes, state, below)
                total -= float(jax.nn.log_softmax(logits)[following])
                symbol = following
            x = features(chord)
    want = total / sum(map(len, PIECES[:2]))
    assert float(model.nats(params, data.arrays(PIECES[:2], 12))) == pytest.approx(
        want, rel=1e-5
    )
    written = continued(model, params, PIECES[0][:3], 4, seed=0)
    assert written[:3] == PIECES[0][:3] and len(written) == 7
    assert written == continued(model, params, PIECES[0][:3], 4, seed=0)
    assert written != continued(model, params, PIECES[0][:3], 4, seed=1)


def test_baselines_by_counting_in_loops():
    train, test = PIECES[:3], PIECES[3:]
    on = np.full(88, 0.5)
    after = (
        np.full((2, 88), 0.5),
        np.full((2, 88), 0.5),
    )  # off and on, by the note before
    chords = 0
    for piece in train:
        last: set = set()
        for chord in piece:
            chords += 1
            for note in range(88):
                now = note + 21 in chord
                on[note] += now
                after[now][int(note + 21 in last), note] += 1
            last = set(chord)
    unigram = markov = 0.0
    for piece in test:
        last = set()
        for chord in piece:
            for note in range(88):
                now, before = note + 21 in chord, int(note + 21 in last)
                p = on[note] / (chords + 1)
                unigram -= np.log(p if now else 1 - p)
                counts = after[0][before, note], after[1][before, note]
                markov -= np.log(counts[now] / sum(counts))
            last = set(chord)
    got = baselines(train, test)
    steps = sum(map(len, test))
    assert got["note unigram"] == pytest.approx(unigram / steps)
    assert got["note Markov"] == pytest.approx(markov / steps)
    assert 0 < got["voice Markov"] < got["note unigram"]


def test_midi_files_hold_notes_that_go_on(tmp_path):
    write_midi(tmp_path / "a.mid", [(48, 60), (50, 60), (), (60,)])
    now, events = 0, []
    for message in mido.MidiFile(tmp_path / "a.mid").tracks[0]:
        now += message.time
        if message.type.startswith("note"):
            events.append((now // 480, message.type, message.note))
    on, off = "note_on", "note_off"
    assert events == [
        (0, on, 48), (0, on, 60), (1, off, 48), (1, on, 50), (2, off, 50), (2, off, 60),
        (3, on, 60), (4, off, 60),
    ]  # fmt: skip


def test_the_highest_note_is_the_soprano():
    piece = [(48, 60, 67, 72), (48, 60, 72), (), (50,)]
    assert held(piece, 0) == [(0, 2, 48)]
    assert held(piece, 2) == [(0, 1, 67)]
    assert held(piece, 3) == [(0, 2, 72), (3, 4, 50)]


def test_a_small_run_learns(tmp_path):
    split = {"train": PIECES * 2, "valid": PIECES[:2], "test": PIECES[2:]}
    write(tmp_path, split)
    results, folder = small("music", tmp_path)
    factorised, voices = values(results, "nats per chord")
    counted = results["rows"][0]["baselines"]
    assert factorised < 0.8 * counted["note unigram"]
    assert voices < 0.7 * counted["note unigram"]
    assert losses(folder / "voices-GRU/seed-0")[-1] == pytest.approx(voices, rel=1)
    assert len(mido.MidiFile(folder / "continued.mid").tracks[0]) > 4
