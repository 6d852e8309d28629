"""Clips of two handwritten digits that move: 20 frames of 20 x 20 pixels, and their tags.

Each motion has an opposite, and a clip played backwards is a clip of the opposite motions
with the same frames: only the order of the frames tells them apart.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


DIGITS = tuple(str(digit) for digit in range(10))
MOTIONS = (
    "moves left", "moves right", "moves up", "moves down",
    "turns left", "turns right", "shrinks", "grows",
)  # fmt: skip
OPPOSITE = np.array([1, 0, 3, 2, 5, 4, 7, 6])
TAGS = (*DIGITS, *MOTIONS)
FRAMES, SIZE = 20, 20


class Clips(NamedTuple):
    """A batch of clips, time-major."""

    frames: np.ndarray  # (FRAMES, B, SIZE, SIZE) brightness from 0 to 255
    tags: np.ndarray  # (B, 18) booleans: 10 digits, 8 motions


@dataclass(frozen=True, eq=False)
class Digits:
    """Images of single digits, `(N, 8, 8)` from 0 to 1, and their classes."""

    images: np.ndarray
    classes: np.ndarray


def load() -> dict[str, Digits]:
    """The digits of scikit-learn, split 60 : 15 : 25 into disjoint images."""
    images, classes = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.float32) / 16
    rest, test = _split(np.arange(len(images)), classes, 0.25)
    train, validation = _split(rest, classes, 0.2)
    parts = {"train": train, "validation": validation, "test": test}
    return {name: Digits(images[i], classes[i]) for name, i in parts.items()}


def _split(
    indices: np.ndarray, classes: np.ndarray, fraction: float
) -> list[np.ndarray]:
    return train_test_split(
        indices, test_size=fraction, random_state=0, stratify=classes[indices]
    )


def draw_clips(digits: Digits, count: int, seed: int) -> Clips:
    """Draws `count` clips of two different digits, each with a motion of its own."""
    rng = np.random.default_rng(seed)
    sizes = [len(part) for part in np.array_split(np.arange(count), -(-count // 100))]
    parts = [_draw(digits, size, rng) for size in sizes]  # all at once are gigabytes
    return Clips(
        np.concatenate([part.frames for part in parts], axis=1),
        np.concatenate([part.tags for part in parts]),
    )


def _draw(digits: Digits, count: int, rng: np.random.Generator) -> Clips:
    pairs = np.stack([rng.choice(10, 2, replace=False) for _ in range(count)])
    chosen = np.stack([_image_of(digits, int(c), rng) for c in pairs.ravel()])
    motions = rng.integers(len(MOTIONS), size=(count, 2))
    centres, angles, scales = paths(motions.ravel(), rng)
    moved = render(digits.images[chosen], centres, angles, scales)
    frames = moved.reshape(count, 2, FRAMES, SIZE, SIZE).max(axis=1)
    tags = np.zeros((count, len(TAGS)), bool)
    rows = np.arange(count)[:, None]
    tags[rows, pairs] = tags[rows, len(DIGITS) + motions] = True
    pixels = (255 * frames).astype(np.uint8)
    return Clips(np.ascontiguousarray(pixels.swapaxes(0, 1)), tags)


def draw_whole(clips: Clips, count: int, rng: np.random.Generator) -> Clips:
    """A batch of whole clips; every other one is played backwards."""
    chosen = rng.integers(len(clips.tags), size=count)
    frames, tags = clips.frames[:, chosen], clips.tags[chosen]
    digits, motions = np.split(tags[1::2], [len(DIGITS)], axis=1)
    frames[:, 1::2] = frames[::-1, 1::2]
    tags[1::2] = np.concatenate([digits, motions[:, OPPOSITE]], axis=1)
    return Clips(frames, tags)


def draw_frames(clips: Clips, count: int, rng: np.random.Generator) -> Clips:
    """A batch of single frames, as clips of one frame."""
    chosen = rng.integers(len(clips.tags), size=count)
    moments = rng.integers(len(clips.frames), size=count)
    return Clips(clips.frames[moments, chosen][None], clips.tags[chosen])


def _image_of(digits: Digits, digit: int, rng: np.random.Generator) -> np.intp:
    return rng.choice(np.flatnonzero(digits.classes == digit))


def paths(
    motions: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres `(N, FRAMES, 2)` in rows and columns, angles and scales `(N, FRAMES)`."""
    n, kind = len(motions), motions // 2
    sign = np.where(motions % 2, 1.0, -1.0)  # opposite motions are even and odd
    time = sign[:, None] * np.linspace(-1, 1, FRAMES)
    reach = np.stack([kind == 1, kind == 0], 1) * rng.uniform(3, 6, (n, 1))
    middle = (SIZE - 1) / 2
    room = SIZE / 2 - 4 - reach  # half a digit has 4 pixels
    start = middle + _apart(rng.uniform(-1, 1, (4, n, 2)) * room)
    turn = (kind == 2) * rng.uniform(0.4, 0.8, n)  # radians
    growth = (kind == 3) * rng.uniform(0.25, 0.4, n)
    centres = start[:, None] + reach[:, None] * time[..., None]
    return centres, turn[:, None] * time, np.exp(growth[:, None] * time)


def _apart(places: np.ndarray) -> np.ndarray:
    """Of several places `(K, N, 2)`, those where two digits that share a clip are farthest."""
    pairs = places.reshape(len(places), -1, 2, 2)
    distance = np.linalg.norm(pairs[:, :, 0] - pairs[:, :, 1], axis=-1)
    farthest = distance.argmax(axis=0)
    return pairs[farthest, np.arange(pairs.shape[1])].reshape(-1, 2)


def render(
    images: np.ndarray, centres: np.ndarray, angles: np.ndarray, scales: np.ndarray
) -> np.ndarray:
    """Frames `(N, FRAMES, SIZE, SIZE)` of images that are moved, turned right and scaled."""
    grid = np.stack(np.meshgrid(*[np.arange(SIZE)] * 2, indexing="ij"), axis=-1)
    down, right = np.moveaxis(grid - centres[:, :, None, None], -1, 0)
    cos = (np.cos(angles) / scales)[..., None, None]
    sin = (np.sin(angles) / scales)[..., None, None]
    middle = (images.shape[-1] - 1) / 2
    places = (cos * down - sin * right + middle, sin * down + cos * right + middle)
    which = np.broadcast_to(np.arange(len(images))[:, None, None, None], down.shape)
    return ndimage.map_coordinates(
        images, (which, *places), order=1, mode="grid-constant"
    )


def shuffled(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The frames of each clip in a random order of its own."""
    clips = frames.shape[1]
    orders = np.tile(np.arange(len(frames))[:, None], (1, clips))
    return frames[rng.permuted(orders, axis=0), np.arange(clips)]
