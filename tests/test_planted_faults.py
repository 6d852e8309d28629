"""Faults that the library has had, planted again: a law turns red for each.

A row is a name, a function that plants the fault with `monkeypatch`, and the law that must
see it. To add one: bring the fault back in a few lines, and name the law.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest

import jaxrnn
from jaxrnn import testing
from jaxrnn.strategies import _masked
from jaxrnn.testing import LawBroken


pytestmark = pytest.mark.slow


def narrow_symbols_wrap(patch):
    """The bound of the table in the dtype of the symbols: 256 is 0 in a byte."""

    def apply(self, params, x):
        size = jnp.asarray(self.vocabulary % 2 ** (8 * x.dtype.itemsize), x.dtype)
        row = params.table[x.astype(jnp.int32)]
        return jnp.where(x < size, row, jnp.full_like(row, jnp.nan))

    patch.setattr(jaxrnn.Embedding, "apply", apply)


def resets_multiply(patch):
    """A reset of a linear cell as `a = 0` and `b += a * initial`: 0 * NaN is NaN."""

    def coefficients(self, params, z):
        a, b = self.cell.coefficients(params, z.value)
        if z.reset is not None:
            start = self.initial_state(params)
            b = jnp.where(z.reset, a * start + b, b)
            a = jnp.where(z.reset, jnp.zeros_like(a), a)
        if z.valid is not None:
            a = jnp.where(z.valid, a, jnp.ones_like(a))
            b = jnp.where(z.valid, b, jnp.zeros_like(b))
        return a, b

    patch.setattr(_masked.MaskedLinear, "coefficients", coefficients)
    patch.setattr(
        _masked.MaskedLinear,
        "recur",
        lambda self, params, state, z: multiplied(self, params, state, z),
        raising=False,
    )


def multiplied(cell, params, state, z):
    a, b = cell.coefficients(params, z)
    return a * state + b


def norms_divide_by_nothing(patch):
    """A layer norm whose slope at zero is over what float16 holds."""
    from jaxrnn.cells import _norm

    def layer_norm(params, v):
        centred = v - jnp.mean(v)
        normalised = centred * jax.lax.rsqrt(jnp.mean(centred**2) + 1e-5)
        return params.scale * normalised + params.shift

    for module in (_norm, *norm_users()):
        patch.setattr(module, "layer_norm", layer_norm)


def norm_users():
    from jaxrnn.cells import _layer_norm_gru, _layer_norm_lstm

    return _layer_norm_gru, _layer_norm_lstm


def lambdas_by_default(patch):
    """What pickle cannot find by its name, in a field."""
    patch.setattr(
        jaxrnn.MGU, "__reduce__", lambda self: (lambda: self, ()), raising=False
    )


def batch_sizes_are_numbers(patch):
    """A schedule that asks a symbolic size how large it is."""
    unroll = jaxrnn.MGU.unroll

    def counted(self, params, xs, state, context):
        return unroll(self, params, xs[: int(xs.shape[0])], state, context)

    patch.setattr(jaxrnn.MGU, "unroll", counted)


def steps_of_jax_alone(patch):
    """A step that hands NumPy's arrays on, to a cell that refuses them."""
    patch.setattr(jaxrnn._layer, "_jax_array", lambda x: x)
    recur = jaxrnn.MGU.recur

    def only(self, params, state, z):
        assert isinstance(state, jax.Array), "no array of JAX's"
        return recur(self, params, state, z)

    patch.setattr(jaxrnn.MGU, "recur", only)


@dataclass(frozen=True)
class Climbing(jaxrnn.LinearCell):
    """A complex parameter."""

    input_size: int = 3

    def init(self, key):
        return jnp.ones(3, jnp.complex64)

    def initial_state(self, params):
        return jnp.zeros_like(params)

    def coefficients(self, params, z):
        return params / 2, z.astype(params.dtype)


def nothing(patch):
    """The fault is in the layer itself."""
    del patch


PLANTED = [
    (
        narrow_symbols_wrap,
        testing.check_inputs,
        jaxrnn.Embedding(256, 3),
        "dtypes of inputs",
    ),
    (resets_multiply, testing.check_nan, jaxrnn.MinGRU(3, 4), "NaN|nan"),
    (
        norms_divide_by_nothing,
        testing.check_dtypes,
        jaxrnn.LayerNormGRU(3, 8),
        "float16",
    ),
    (lambdas_by_default, testing.check_copies, jaxrnn.MGU(3, 4), "copies: pickle"),
    (batch_sizes_are_numbers, testing.check_export, jaxrnn.MGU(3, 4), "export"),
    (steps_of_jax_alone, testing.check_numpy, jaxrnn.MGU(3, 4), "no array of JAX's"),
    (nothing, testing.check_descent, Climbing(), "descent.*climbs"),
]


@pytest.mark.parametrize(
    "plant, law, layer, words", PLANTED, ids=[row[0].__name__ for row in PLANTED]
)
def test_a_law_turns_red(plant, law, layer, words, monkeypatch):
    jax.clear_caches()  # programs of before the fault
    x = jnp.int32(255) if isinstance(layer, jaxrnn.Embedding) else None
    plant(monkeypatch)
    with pytest.raises((LawBroken, AssertionError), match=words):
        law(layer, x=x)
    monkeypatch.undo()
    jax.clear_caches()
