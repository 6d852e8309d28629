"""Genome, small: junctions with a signal at their place, a genome with a rhythm of three."""

import gzip

import jax
import numpy as np
import pytest

from experiments.common import DataError
from experiments.genome import bases, data, junctions
from experiments.genome.train import SMALL

from .helpers import losses, small


def letters(symbols):
    return "".join(data.BASES[s] for s in symbols)


def write_genome(folder, name, symbols):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = letters(symbols)
    lines = [">test", *(text[i : i + 70] for i in range(0, len(text), 70))]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def write_splice(folder, count=240):
    random = np.random.default_rng(0)
    rows = random.integers(0, 4, (count, data.LENGTH))
    classes = np.arange(count) % 3
    rows[classes == 0, 30:33] = [2, 3, 0]  # GTA after the junction
    rows[classes == 1, 27:30] = [1, 0, 2]  # CAG before it
    path = folder / "genome/splice.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    named = zip(classes, rows, strict=True)
    lines = [f"{data.CLASSES[c]},{letters(row)}" for c, row in named]
    path.write_text("\n".join(["class,sequence", *lines]) + "\n")
    return path


def rhythm(count, seed=0):
    """Every third base is mostly G."""
    random = np.random.default_rng(seed)
    symbols = random.integers(0, 4, count)
    often = (np.arange(count) % 3 == 0) & (random.random(count) < 0.9)
    return np.where(often, 2, symbols).astype(np.int32)


def test_it_learns_junctions_and_the_rhythm_of_a_genome(tmp_path):
    write_splice(tmp_path / "data")
    for name in data.GENOMES:
        write_genome(tmp_path / "data", name, rhythm(4000))
    results, folder = small("genome", tmp_path)
    junction, forward, *_ = results["rows"]
    assert np.mean(junction["values"]) > 0.8  # chance is a third
    trained = losses(folder / "bases")
    assert np.mean(trained[-10:]) < 0.95 * trained[0]
    assert forward["values"][0] < 1.85  # 2 bits without knowledge
    markov, mixture = forward["baselines"]
    assert markov.startswith("Markov, order") and mixture == "mixture of orders 0 to 4"


def test_strands():
    strand = data.symbols("AACGT", "here")
    assert letters(data.reverse_complement(strand)) == "ACGTT"
    np.testing.assert_array_equal(
        data.reverse_complement(data.reverse_complement(strand)), strand
    )


def test_the_parts_of_a_genome_follow_one_another():
    parts = data.split(np.arange(100))
    whole = np.concatenate((parts.train, parts.validation, parts.test))
    np.testing.assert_array_equal(whole, np.arange(100))
    assert len(parts.test) == len(parts.validation) == 10


def test_markov_bits_are_those_of_counts():
    train, test = rhythm(500), rhythm(80, seed=1)
    want = []
    for t in range(2, 80):
        context = test[t - 2 : t]
        after = [
            train[i + 2] for i in range(498) if (train[i : i + 2] == context).all()
        ]
        want.append(-np.log2((after.count(test[t]) + 1) / (len(after) + 4)))
    got = bases.markov_bits(train, [test], 2)[0]
    assert got == pytest.approx(np.mean(want))
    uniform = np.random.default_rng(0).integers(0, 4, 10**5)
    assert bases.markov_bits(uniform, [uniform], 1)[0] == pytest.approx(2, abs=0.01)


def test_a_mixture_goes_from_context_to_context():
    train, test = rhythm(300), rhythm(40, seed=1)

    def p(symbol, context):
        shorter = p(symbol, context[1:]) if len(context) else 0.25
        k = len(context)
        places = range(k, len(train))
        after = [train[i] for i in places if (train[i - k : i] == context).all()]
        return (after.count(symbol) + 5.0 * shorter) / (len(after) + 5.0)

    want = np.mean([-np.log2(p(test[t], test[t - 3 : t])) for t in range(3, 40)])
    got = bases.mixture_bits(train, [test], 3, (5.0, 9.0))
    assert got[5.0][0] == pytest.approx(want)
    assert got[9.0] != got[5.0]


def test_equal_sequences_are_in_one_fold():
    random = np.random.default_rng(0)
    rows = random.integers(0, 4, (60, data.LENGTH)).repeat(2, axis=0)
    classes = (np.arange(120) // 2 % 3).astype(np.int32)
    for train, test in junctions.folds(rows, classes, 5):
        seen = {row.tobytes() for row in rows[train]}
        assert not any(row.tobytes() in seen for row in rows[test])
        assert np.bincount(classes[test]).min() > 3


def test_the_effect_of_a_base_is_found():
    """For a score that looks at one base, all of the effect is there."""
    rows = np.random.default_rng(0).integers(0, 4, (30, data.LENGTH)).astype(np.int32)
    classes = (rows[:, 7] == 2).astype(np.int32)
    classes[0] = 2

    def predict(params, given):
        signal = 4.0 * (given[:, 7] == 2)
        return np.stack((0 * signal, signal - 2, 0 * signal - 9), axis=1).astype("f")

    effect = junctions.effects(predict, None, rows, classes)
    assert effect[1, 7] > 1 and effect[0, 7] > 0.5
    assert np.abs(np.delete(effect[:2], 7, axis=1)).max() == 0


def test_each_base_reaches_the_junction():
    """The forward GRU reads the first half, the backward GRU the second and base 30."""
    model = junctions.make_model(SMALL)
    params = model.init(jax.random.key(0))
    rows = np.random.default_rng(0).integers(0, 4, (1, data.LENGTH)).astype(np.int32)
    changed = rows.repeat(data.LENGTH, axis=0)
    places = np.arange(data.LENGTH)
    changed[places, places] = (changed[places, places] + 1) % 4
    given = np.concatenate((rows, changed))
    scores = np.asarray(junctions.logits(model, params, given))
    distance = np.abs(scores[1:] - scores[0]).max(axis=1)
    assert distance[[29, 30]].min() > 1e-3
    assert (distance[15:45] > 0).all()


@pytest.mark.parametrize(
    "content, message",
    [
        (gzip.compress(b">x\nACGT")[:-6], "not a whole gzip file"),
        (b">x\nACGT", "not a whole gzip file"),
        (gzip.compress(b"ACGT\nACGT"), "begins with a line '>name'"),
        (gzip.compress(b""), "begins with a line '>name'"),
        (gzip.compress(b">x\nAC\n>y\nGT"), "several records"),
        (gzip.compress(b">x\nACGN"), "'N' is not a base"),
    ],
)
def test_broken_genomes_are_refused(tmp_path, content, message):
    name = next(iter(data.GENOMES))
    with pytest.raises(DataError, match="NC_008253"):
        data.genome(tmp_path, name)
    write_genome(tmp_path, name, rhythm(10)).write_bytes(content)
    with pytest.raises(DataError, match=message):
        data.genome(tmp_path, name)


def test_broken_junctions_are_refused(tmp_path):
    path = write_splice(tmp_path)
    whole = path.read_text()
    for broken, message in (
        (whole.replace("ei,", "xx,", 1), "classes {'xx'}"),
        (whole[:-5], "does not have 60 bases"),
        (
            whole.replace("ie,A", "ie,N", 1).replace("ie,C", "ie,N", 1),
            "'N' is not a base",
        ),
        (whole.replace("class,", "kind,", 1), "columns class are missing"),
    ):
        path.write_text(broken)
        with pytest.raises(DataError, match=message):
            data.splice(tmp_path)
