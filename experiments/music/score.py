"""A piece as a MIDI file."""

from pathlib import Path

import mido

from .data import Piece


TICKS = 480
"""Ticks of a quarter note."""


def write_midi(path: Path, piece: Piece, beats_per_minute: int = 90) -> None:
    """Writes one track; a note that goes on in the next chord is held, not repeated."""
    track = mido.MidiTrack()
    tempo = mido.bpm2tempo(beats_per_minute)
    track.append(mido.MetaMessage("set_tempo", tempo=tempo))
    sounding: set[int] = set()
    waited = 0
    for chord in [*piece, ()]:
        now = set(chord)
        ends = [("note_off", note) for note in sorted(sounding - now)]
        starts = [("note_on", note) for note in sorted(now - sounding)]
        for kind, note in ends + starts:
            track.append(mido.Message(kind, note=note, velocity=80, time=waited))
            waited = 0
        sounding, waited = now, waited + TICKS
    file = mido.MidiFile(ticks_per_beat=TICKS)
    file.tracks.append(track)
    file.save(path)
