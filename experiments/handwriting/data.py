"""Handwriting as movements of a pen: digits of 8 points, and characters of many strokes."""

import tarfile
import xml.etree.ElementTree
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from fontTools.pens.recordingPen import RecordingPen
from fontTools.svgLib.path import parse_path

from ..common import DataError, find


DIGITS, CHARACTERS = "handwriting/pendigits.tra", "handwriting/kanjivg.tar.xz"
DIGITS_SOURCE = (
    "https://archive.ics.uci.edu (Pen-Based Recognition of Handwritten Digits, Alpaydin "
    "and Alimoglu 1998; CC BY 4.0)"
)
CHARACTERS_SOURCE = "https://kanjivg.tagaini.net (KanjiVG, Ulrich Apel; CC BY-SA 3.0)"

BOX = 109.0
"""Width and height of a character of KanjiVG."""
CJK = range(0x4E00, 0xA000)
"""The code points of the characters that are used."""
TOLERANCE = 1.0
"""The largest distance between a stroke and the polyline in its place."""

Character: TypeAlias = list[np.ndarray]
"""The strokes in the order of writing, each `(points, 2)`."""


class Digits(NamedTuple):
    """Points `(n, 8, 2)` from 0 to 100, and labels; every fourth digit is held out."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


class Characters(NamedTuple):
    """Characters by part; their code points decide it."""

    train: list[Character]
    valid: list[Character]
    test: list[Character]


def load_digits(data_dir: Path) -> Digits:
    """Reads the digits; DataError if the file is missing or broken."""
    path = find(data_dir, DIGITS, DIGITS_SOURCE)
    expected = "expected lines of 16 integers from 0 to 100 and a digit, with commas"
    try:
        rows = np.loadtxt(path, delimiter=",", dtype=int, ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}: {expected}: {error}.") from None
    if rows.shape[1:] != (17,) or len(rows) < 8:
        raise DataError(f"{path}: {expected}; the file has shape {rows.shape}.")
    points, labels = rows[:, :16], rows[:, 16]
    if points.min() < 0 or points.max() > 100 or labels.min() < 0 or labels.max() > 9:
        raise DataError(f"{path}: {expected}; some are outside of the range.")
    points = points.reshape(-1, 8, 2).astype(np.float32)
    held_out = np.arange(len(rows)) % 4 == 3
    return Digits(
        points[~held_out], labels[~held_out], points[held_out], labels[held_out]
    )


def load_characters(data_dir: Path, longest: int) -> Characters:
    """Reads the characters that have at most `longest` points.

    Those with a code point that ends in 7 are for validation, those in 3 for the test.
    """
    path = find(data_dir, CHARACTERS, CHARACTERS_SOURCE)
    parts = Characters([], [], [])
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                code = _code_point(path, member)
                if code not in CJK:
                    continue
                file = archive.extractfile(member)
                assert file is not None  # a regular file, as checked
                character = read_svg(f"{path}: {member.name}", file.read())
                if sum(map(len, character)) <= longest:
                    _part(parts, code).append(character)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{path}: the archive is broken: {error}.") from None
    if not all(parts):
        raise DataError(f"{path}: too few characters: {[*map(len, parts)]} by part.")
    return parts


def _code_point(path: Path, member: tarfile.TarInfo) -> int:
    stem, _, suffix = Path(member.name).name.partition(".")
    try:
        if suffix == "svg" and member.isfile():
            return int(stem.partition("-")[0], 16)
    except ValueError:
        pass
    raise DataError(f"{path}: expected files such as 04e00.svg, got {member.name}.")


def _part(parts: Characters, code: int) -> list[Character]:
    return {7: parts.valid, 3: parts.test}.get(code % 10, parts.train)


def read_svg(where: str, content: bytes) -> Character:
    """The strokes of an SVG file, as polylines of few points."""
    try:
        root = xml.etree.ElementTree.fromstring(content)
    except xml.etree.ElementTree.ParseError as error:
        raise DataError(f"{where}: the file is not SVG: {error}.") from None
    paths = [e.get("d", "") for e in root.iter() if e.tag.endswith("}path")]
    if not paths:
        raise DataError(f"{where}: expected at least one path.")
    return [simplified(stroke(where, path), TOLERANCE) for path in paths]


def stroke(where: str, path: str, steps: int = 8) -> np.ndarray:
    """A path of cubic curves as a polyline with `steps` segments for each curve."""
    t = np.linspace(0, 1, steps + 1)[1:, None]
    s = 1 - t
    weights = np.hstack([s**3, 3 * s * s * t, 3 * s * t * t, t**3])
    pen, points = RecordingPen(), np.zeros((0, 2))
    try:
        parse_path(path, pen)
    except (ValueError, IndexError, TypeError):
        pen.value = []
    for command, given in pen.value:
        if command == "moveTo" and len(points) == 0:
            points = np.array(given)
        elif command == "curveTo":
            points = np.vstack([points, weights @ np.vstack([points[-1:], given])])
        elif command != "endPath":
            raise DataError(f"{where}: expected cubic curves only, got {command}.")
    if len(points) < 2 or not np.isfinite(points).all():
        raise DataError(f"{where}: this path is not a stroke: {path!r}.")
    return points


def simplified(points: np.ndarray, tolerance: float) -> np.ndarray:
    """The polyline of Ramer 1972 and Douglas and Peucker 1973: the points that it needs."""
    if len(points) < 3:
        return points
    along, inner = points[-1] - points[0], points[1:-1] - points[0]
    length = np.hypot(*along)
    if length > 0:
        distances = np.abs(along[0] * inner[:, 1] - along[1] * inner[:, 0]) / length
    else:
        distances = np.hypot(*inner.T)
    if distances.max() <= tolerance:
        return points[[0, -1]]
    farthest = int(distances.argmax()) + 1
    left = simplified(points[: farthest + 1], tolerance)
    return np.vstack([left[:-1], simplified(points[farthest:], tolerance)])
