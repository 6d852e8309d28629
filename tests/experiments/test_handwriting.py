"""Handwriting: the loaders, pen movements, exact densities, and a small run."""

import io
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from experiments.common import DataError
from experiments.handwriting import data, pen
from experiments.handwriting.baselines import gaussian
from experiments.handwriting.model import Writer, log_density
from experiments.handwriting.write import halves, nothing, sample, written

from .helpers import small, values


CORNER = "M10,20c10,0,20,0,30,0c0,10,0,20,0,30"  # to the right, then down
LINE = "m50,60 C50,70 50,80 50,90"
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><g>{}</g></svg>'


def svg(*paths):
    return SVG.format("".join(f'<path d="{p}"/>' for p in paths)).encode()


def write_archive(tmp_path, files):
    path = tmp_path / "data" / data.CHARACTERS
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return tmp_path / "data"


def write_digits(tmp_path, content=None):
    """Digits whose label is the direction of the first step: they can be learned."""
    path = tmp_path / "data" / data.DIGITS
    path.parent.mkdir(parents=True, exist_ok=True)
    pick = np.random.default_rng(0)
    lines = []
    for _ in range(80):
        label = pick.integers(2)
        points = pick.integers(40, 60, (8, 2)) + np.array([40 * label - 20, 0])
        lines.append(",".join(f"{v:3d}" for v in [*points.ravel(), label]))
    path.write_text("\n".join(lines) if content is None else content)
    return tmp_path / "data"


def test_characters_are_read_as_strokes(tmp_path):
    names = [f"{code:05x}.svg" for code in (19968, 19969, 19973, 19977, ord("A"))]
    archive = write_archive(tmp_path, {name: svg(CORNER, LINE) for name in names})
    found = data.load_characters(archive, 5)
    assert [len(part) for part in found] == [2, 1, 1]
    corner, line = found.train[0]
    np.testing.assert_allclose(corner, [[10, 20], [40, 20], [40, 50]], atol=1e-9)
    np.testing.assert_allclose(line, [[50, 60], [50, 90]], atol=1e-9)


def test_a_curve_keeps_the_points_that_it_needs():
    t = np.linspace(0, np.pi, 200)
    arc = 40 * np.stack([np.cos(t), np.sin(t)], axis=1)
    few = data.simplified(arc, 1.0)
    assert 4 < len(few) < 20
    starts, steps = few[:-1], np.diff(few, axis=0)
    along = np.einsum("pkd,kd->pk", arc[:, None] - starts, steps)
    along = np.clip(along / np.sum(steps**2, axis=1), 0, 1)
    nearest = starts + along[..., None] * steps
    assert np.hypot(*(arc[:, None] - nearest).T).min(axis=0).max() <= 1.0
    loop = np.array([[0, 0], [9, 0], [9, 9], [0, 0]])
    assert len(data.simplified(loop, 1.0)) == 4


@pytest.mark.parametrize(
    "files, message",
    [
        ({"readme.txt": b""}, "expected files such as 04e00.svg, got readme.txt"),
        ({"zz.svg": b""}, "got zz.svg"),
        ({"04e00.svg": b"<svg"}, "04e00.svg: the file is not SVG"),
        ({"04e00.svg": svg()}, "expected at least one path"),
        ({"04e00.svg": svg("M1,2L3,4")}, "expected cubic curves only, got lineTo"),
        ({"04e00.svg": svg("M1,2c3,")}, "this path is not a stroke"),
        ({"04e00.svg": svg("M1,2")}, "this path is not a stroke"),
        ({"04e00.svg": svg(LINE)}, "too few characters"),
    ],
)
def test_broken_characters_are_refused_in_words(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        data.load_characters(write_archive(tmp_path, files), 5)


def test_a_broken_archive_is_refused_in_words(tmp_path):
    files = {f"0{c:x}.svg": svg(CORNER, LINE) for c in range(0x4E00, 0x4E40)}
    path = write_archive(tmp_path, files) / data.CHARACTERS
    whole = path.read_bytes()
    for content in (b"", b"not an archive", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="the archive is broken"):
            data.load_characters(tmp_path / "data", 5)


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "expected lines of 16 integers"),
        ("1,2,3\n" * 9, r"shape \(9, 3\)"),
        ("x" + ",1" * 16, "could not convert"),
        (("1," * 16 + "3\n") * 8 + "1,2\n", "number of columns"),
        (("101," * 16 + "3\n") * 8, "outside of the range"),
        (("1," * 16 + "10\n") * 8, "outside of the range"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_broken_digits_are_refused_in_words(tmp_path, content, message):
    with pytest.raises(DataError, match=f"(?s)pendigits.tra.*{message}"):
        data.load_digits(write_digits(tmp_path, content))


def test_missing_data_are_refused_with_their_source(tmp_path):
    with pytest.raises(DataError, match=r"archive\.ics\.uci\.edu"):
        data.load_digits(tmp_path)
    with pytest.raises(DataError, match=r"kanjivg\.tagaini\.net"):
        data.load_characters(tmp_path, 5)


def test_every_fourth_digit_is_held_out(tmp_path):
    digits = data.load_digits(write_digits(tmp_path))
    assert digits.train.shape == (60, 8, 2) and digits.test.shape == (20, 8, 2)


CHARACTERS = [
    [np.array([[10, 20], [40, 20], [40, 50.0]]), np.array([[50, 60], [50, 90.0]])],
    [np.array([[30, 30], [60, 80.0]])],
]


def test_movements_and_back():
    moves = pen.movements(CHARACTERS, 7, unit=10.0)
    assert moves.lengths.tolist() == [5, 2]
    assert moves.pen.T.tolist() == [[0, 0, 1, 0, 2, 0, 0], [0, 2, 0, 0, 0, 0, 0]]
    np.testing.assert_allclose(moves.offsets[0], [[-4.45, -3.45], [-2.45, -2.45]])
    again = pen.characters(moves, 10.0)
    for strokes, want in zip(again, CHARACTERS, strict=True):
        for stroke, points in zip(strokes, want, strict=True):
            np.testing.assert_allclose(stroke, points, rtol=1e-5)
    assert halves(moves).lengths.tolist() == [3, 2]
    offsets = np.concatenate([moves.offsets[:5, 0], moves.offsets[:2, 1]])
    assert pen.spread(CHARACTERS) == pytest.approx(10 * np.std(offsets), rel=1e-5)


def test_the_mixture_is_a_density():
    model = Writer(4, 3, 0.0)
    outputs = jnp.asarray(np.random.default_rng(0).normal(size=21), jnp.float32)
    mixture = model.mixture(outputs)
    want = 0.0
    at = np.array([0.3, -0.7])
    for k in range(3):
        sd, rho = (
            np.asarray(mixture.deviation[:, k], float),
            float(mixture.correlation[k]),
        )
        off = rho * sd[0] * sd[1]
        one = multivariate_normal(
            np.asarray(mixture.mean[:, k]), [[sd[0] ** 2, off], [off, sd[1] ** 2]]
        )
        want += np.exp(float(mixture.weights[k])) * one.pdf(at)
    got = log_density(mixture, jnp.asarray(at, jnp.float32))
    assert float(got) == pytest.approx(np.log(want), rel=1e-4)
    draws, pens = jax.vmap(lambda key: sample(mixture, 0.0, key))(
        jax.random.split(jax.random.key(0), 4000)
    )
    mean = np.exp(np.asarray(mixture.weights)) @ np.asarray(mixture.mean).T
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.1)
    frequencies = np.bincount(pens, minlength=3) / 4000
    np.testing.assert_allclose(frequencies, np.exp(mixture.pen), atol=0.03)


def test_the_gaussians_by_scipy():
    moves = pen.movements(CHARACTERS, 7, unit=10.0)
    offsets = np.concatenate([moves.offsets[:5, 0], moves.offsets[:2, 1]]).astype(float)
    pens = np.array([0, 0, 1, 0, 2, 0, 2])
    one = multivariate_normal(offsets.mean(axis=0), np.cov(offsets.T))
    frequencies = (np.bincount(pens) + 1) / 10
    want = -np.mean(one.logpdf(offsets) + np.log(frequencies[pens]))
    assert gaussian(moves, moves, by_pen=False) == pytest.approx(want)
    assert gaussian(moves, moves, by_pen=True) < want


def test_what_is_given_is_kept_and_the_rest_is_written():
    model = Writer(4, 2, 0.0)
    params = model.init(jax.random.key(0))
    given = halves(pen.movements(CHARACTERS, 5, unit=10.0))
    drawn = written(model, params, given, 9, bias=0.5, seed=0)
    np.testing.assert_allclose(drawn.offsets[:3, 0], given.offsets[:3, 0])
    assert drawn.lengths[1] == 2  # the second character had ended
    assert drawn.lengths[0] > 3
    free = written(model, params, nothing(3), 9, bias=0.5, seed=0)
    for b, length in enumerate(free.lengths):
        ended = np.flatnonzero(free.pen[:, b] == pen.END)
        assert length == (ended[0] + 1 if len(ended) else 9)


def test_a_small_run_learns(tmp_path):
    write_digits(tmp_path)
    pick = np.random.default_rng(0)
    files = {}
    for code in range(0x4E00, 0x4E5A):
        x, y, end = pick.normal((20, 30, 80), 1)
        strokes = [f"M{x},{y}C{x},40 {x},50 {x},{end}", f"M{y},{x}c1,20 2,30 3,{end}"]
        files[f"0{code:x}.svg"] = svg(*strokes, CORNER)
    write_archive(tmp_path, files)
    results, _ = small("handwriting", tmp_path)
    assert values(results, "accuracy")[0] > 0.8  # two classes of equal size
    one, many = values(results, "nats per point")
    counted = results["rows"][1]["baselines"]
    assert max(one, many) < min(counted.values()) - 0.5
