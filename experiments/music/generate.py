"""Chorales that a trained network continues, chord by chord and note by note."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .data import LOWEST, NOTES, STOP, VOICES, Piece, arrays
from .model import Voices, VoicesParams, features, no_chord


def continued(
    model: Voices,
    params: VoicesParams,
    opening: Piece,
    steps: int,
    seed: int,
    temperature: float = 1.0,
) -> Piece:
    """The opening, and `steps` sampled chords after it."""
    given = arrays([opening]).symbols[:, 0]
    keys = jax.random.split(jax.random.key(seed), len(given) + steps)
    free = np.full((steps, VOICES + 1), STOP, np.int32)
    forced = np.arange(len(keys)) < len(given)
    run = jax.jit(lambda xs: jax.lax.scan(step, first(model, params), xs)[1])

    def step(carry: Any, xs: Any) -> Any:
        state, x = carry
        chord, is_given, key = xs
        state, h = model.time.step(params.time, state, x)
        sampled = sample_chord(model, params, h, key, temperature)
        chord = jnp.where(is_given, chord, sampled)
        return (state, as_input(chord)), chord

    chords = run((np.concatenate([given, free]), forced, keys))
    return [as_chord(symbols) for symbols in np.asarray(chords)]


def first(model: Voices, params: VoicesParams) -> Any:
    """The state and the input of the first step."""
    return model.time.initial_state(params.time), no_chord()


def sample_chord(
    model: Voices, params: VoicesParams, h: jax.Array, key: Any, temperature: float
) -> jax.Array:
    """The symbols of one chord, each sampled after those below it; `STOP` after the last."""

    def step(carry: Any, key: Any) -> Any:
        state, symbol = carry
        x = model.inputs(params, symbol[None, None], h[None])[0, 0]
        state, logits = model.notes.step(params.notes, state, x)
        following = jax.random.categorical(key, logits / temperature).astype(jnp.int32)
        following = jnp.where(symbol == STOP, STOP, following)
        return (state, following), following

    state = jax.tree.map(lambda s: s[0], model.initial(params, h[None]))
    keys = jax.random.split(key, VOICES)
    _, symbols = jax.lax.scan(step, (state, jnp.int32(model.START)), keys)
    return jnp.append(symbols, jnp.int32(STOP))


def as_input(symbols: jax.Array) -> jax.Array:
    """The features of a chord."""
    return features(jnp.zeros(NOTES).at[symbols].set(1, mode="drop"))  # without STOP


def as_chord(symbols: np.ndarray) -> tuple[int, ...]:
    """The MIDI numbers of a chord."""
    return tuple(sorted({int(s) + LOWEST for s in symbols if s != STOP}))
