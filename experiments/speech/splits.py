"""Which recordings are trained on, and which are tested."""

from typing import NamedTuple

from .data import Recording


UNSEEN = "george"
"""The speaker who takes no part in the choice of settings."""


class Part(NamedTuple):
    """Recordings to train on, and to test."""

    train: list[Recording]
    test: list[Recording]


class Splits(NamedTuple):
    """The official split of all speakers, and one split for each speaker left out."""

    known: Part
    left_out: dict[str, Part]


def split(recordings: list[Recording], *, validate: bool) -> Splits:
    """Both kinds of splits. The official test recordings are those with index 0 to 4.

    With `validate`, these and one speaker are not used at all, and index 5 to 9 are tested.
    """
    tested = 10 if validate else 5
    if validate:
        recordings = [r for r in recordings if r.take >= 5 and r.speaker != UNSEEN]
    names = sorted({r.speaker for r in recordings})
    return Splits(
        _divided(recordings, lambda r: r.take < tested),
        {n: _divided(recordings, lambda r, n=n: r.speaker == n) for n in names},
    )


def _divided(recordings, is_tested) -> Part:
    return Part(
        [r for r in recordings if not is_tested(r)],
        [r for r in recordings if is_tested(r)],
    )
