"""Emoji and their names in words, and three tests that share no picture with training."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imread

from ..common import DataError, find


SOURCE = (
    "emoji-datasource-twitter on npm (Twemoji, CC BY 4.0): emoji.json, sheet-32.png"
)
SIDE, PITCH, MARGIN = 32, 34, 1
TONES = {
    "1F3FB": "light", "1F3FC": "medium-light", "1F3FD": "medium", "1F3FE": "medium-dark",
    "1F3FF": "dark",
}  # fmt: skip
TONED = re.compile(f"( ({'|'.join(TONES.values())}))+ skin tone$")
END = 0
"""The symbol of the start and of the end of a name."""


@dataclass(frozen=True, eq=False)
class Emoji:
    """Pictures `(N, 32, 32, 3)` from 0 to 1, their names in words, and where they belong."""

    pictures: np.ndarray
    names: list[str]
    parts: np.ndarray  # "train", "tone", "person" or "picture", the tests

    def part(self, name: str) -> "Emoji":
        """The pictures of one part."""
        chosen = np.flatnonzero(self.parts == name)
        names = [self.names[i] for i in chosen]
        return Emoji(self.pictures[chosen], names, self.parts[chosen])

    def within_training(self) -> "Emoji":
        """The pictures to train on, split once more in the same way."""
        train = self.part("train")
        return Emoji(train.pictures, train.names, _parts(train.names, seed=1))

    def counts(self) -> dict[str, int]:
        """The number of pictures of each part."""
        names, counts = np.unique(self.parts, return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))


def load(data_dir: Path) -> Emoji:
    """Reads the sheet and the names, and splits them."""
    file = find(data_dir, "emoji/emoji.json", SOURCE)
    sheet = read_sheet(find(data_dir, "emoji/sheet-32.png", SOURCE))
    named = [
        (cell(sheet, place, file), name)
        for entry in read_entries(file)
        for place, name in named_places(entry)
    ]
    names = [name for _, name in named]
    return Emoji(
        np.stack([picture for picture, _ in named]), names, _parts(names, seed=0)
    )


def _parts(names: list[str], seed: int) -> np.ndarray:
    """The part of each name.

    - "picture": 10 % of the emoji without skin tones;
    - "person": men or women of activities that are trained with the other one alone;
    - "tone": 15 % of the skin tones of the others, each trained with other skin tones.
    """
    rng = np.random.default_rng(seed)
    bases = [TONED.sub("", name) for name in names]
    toned = {base for base, name in zip(bases, names, strict=True) if base != name}
    plain = sorted(set(bases) - toned)
    pictures = set(rng.choice(plain, len(plain) // 10, replace=False).tolist())
    women = sorted(
        base for base in toned if base.startswith("woman ") and base[2:] in toned
    )
    chosen = rng.choice(women, len(women) // 5, replace=False).tolist()
    people = {name if rng.random() < 0.5 else name[2:] for name in chosen}
    parts = []
    for base, name in zip(bases, names, strict=True):
        new = base != name and rng.random() < 0.15
        part = "tone" if new else "train"
        parts.append(
            "picture" if base in pictures else "person" if base in people else part
        )
    return np.array(parts)


def read_entries(file: Path) -> list[dict[str, Any]]:
    """The entries of `emoji.json` that have a picture, without flags: names of countries."""
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        kept = [e for e in entries if e["has_img_twitter"] and e["category"] != "Flags"]
        if not all(words(e["name"]) for e in kept) or not kept:
            raise ValueError("no names")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{file}: expected a JSON list of emoji with name, category, sheet_x, sheet_y "
            f"and has_img_twitter, as in {SOURCE} ({type(error).__name__}: {error})."
        ) from error
    return list({e["name"]: e for e in reversed(kept)}.values())[
        ::-1
    ]  # one of each name


def read_sheet(file: Path) -> np.ndarray:
    """The sheet of all pictures, `(rows, columns, 3)` on white."""
    try:
        pixels = imread(file)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{file} is not a whole PNG file: {error}.") from error
    if pixels.ndim != 3 or pixels.shape[-1] != 4 or pixels.shape[0] % PITCH:
        raise DataError(
            f"{file} has the shape {pixels.shape}; expected pixels of red, green, blue and "
            f"alpha, with a picture every {PITCH} pixels."
        )
    alpha = pixels[..., 3:]
    return (alpha * pixels[..., :3] + 1 - alpha).astype(np.float32)


def cell(sheet: np.ndarray, place: dict[str, Any], file: Path) -> np.ndarray:
    """The picture at one place of the sheet."""
    try:
        top, left = (PITCH * place[axis] + MARGIN for axis in ("sheet_y", "sheet_x"))
    except (KeyError, TypeError) as error:
        raise DataError(f"{file}: an entry has no sheet_x or sheet_y.") from error
    picture = sheet[top : top + SIDE, left : left + SIDE]
    if picture.shape != (SIDE, SIDE, 3):
        raise DataError(
            f"{file}: a picture at column {place['sheet_x']}, row {place['sheet_y']} is "
            f"outside the sheet of {sheet.shape[1]} x {sheet.shape[0]} pixels."
        )
    return picture


def named_places(entry: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """The places of an emoji and of its variants by skin tone, with their names."""
    base = words(entry["name"])
    variants = entry.get("skin_variations") or {}
    named = [
        (place, f"{base} {' '.join(TONES[t] for t in code.split('-'))} skin tone")
        for code, place in variants.items()
    ]
    return [(entry, base), *named]


def words(name: str) -> str:
    """A name in lower case, without punctuation between its words."""
    return " ".join(re.findall(r"[\w'\u2019.&#*-]+", name.lower()))


class Vocabulary:
    """The words of some names; a word outside it has no symbol."""

    def __init__(self, names: list[str]):
        known = sorted({word for name in names for word in name.split()})
        self.words = ["", *known]
        self._symbols = {word: symbol for symbol, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Names as symbols `(T, B)`, each with its end, and their lengths with the end."""
        rows = [
            [self._symbols[word] for word in name.split()] + [END] for name in names
        ]
        lengths = np.array([len(row) for row in rows], np.int32)
        symbols = np.full((lengths.max(), len(rows)), END, np.int32)
        for column, row in enumerate(rows):
            symbols[: len(row), column] = row
        return symbols, lengths

    def decode(self, symbols: np.ndarray) -> list[str]:
        """The names of symbols `(T, B)`, up to the end of each."""
        ends = [
            row.tolist().index(END) if END in row else len(row) for row in symbols.T
        ]
        return [
            " ".join(self.words[s] for s in row[:end])
            for row, end in zip(symbols.T, ends, strict=True)
        ]


def augmented(
    pictures: np.ndarray, shift: int, tint: float, rng: np.random.Generator
) -> np.ndarray:
    """The pictures of a batch, each shifted by a few pixels and with other colors."""
    edges = ((0, 0), (shift, shift), (shift, shift), (0, 0))
    padded = np.pad(pictures, edges, mode="edge")
    corners = rng.integers(0, 2 * shift + 1, size=(len(pictures), 2)).tolist()
    shifted = [
        picture[top : top + SIDE, left : left + SIDE]
        for picture, (top, left) in zip(padded, corners, strict=True)
    ]
    colors = rng.normal(0, tint, (len(pictures), 1, 1, 3)).astype(np.float32)
    return np.clip(np.stack(shifted) + colors, 0, 1)
