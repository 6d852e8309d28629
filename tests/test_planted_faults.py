"""Faults that the library once had, planted again: a law detects each.

A row is a function that plants the fault with `monkeypatch`, the law that must detect it, and
a part of its error. To add one: bring the fault back in a few lines, and name the law.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import pytest

import jaxrnn
from jaxrnn import _check_step, _unroll, testing
from jaxrnn.cells import _s5, _slstm
from jaxrnn.ops._linear_attention import _decays, _guarded
from jaxrnn.strategies import _auto, _masked, _platform, _scan, kernel_table
from jaxrnn.training import _losses

from . import mesh_check
from .test_exact_chunks import test_strong_decays as strong_decays
from .test_numerics import test_an_slstm_remembers_for_thousands_of_steps as long_memory
from .test_numerics import test_s5_keeps_the_digits_of_slow_poles as slow_poles
from .test_platforms import test_kernels_are_called_on_a_cpu_alone as kernels_on_cpu
from .test_state_keys import Noisy
from .test_state_keys import test_a_key_in_the_state_goes_on_from_step_to_step as keys
from .test_world_inputs import test_integers_mean_the_same_numbers as narrow_numbers
from .test_world_inputs import (
    test_losses_of_narrow_floats_are_taken_in_float32 as narrow_losses,
)


pytestmark = pytest.mark.full


def narrow_symbols_wrap(patch):
    """The bound of the table in the dtype of the symbols: in a byte, 256 is 0."""

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
    """A layer norm whose slope at zero overflows float16."""
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
    """A field whose value pickle cannot find by name."""
    patch.setattr(
        jaxrnn.MGU, "__reduce__", lambda self: (lambda: self, ()), raising=False
    )


def batch_sizes_are_numbers(patch):
    """A schedule that asks a symbolic size how large it is."""
    unroll = jaxrnn.MGU.unroll

    def counted(self, params, state, xs, context):
        return unroll(self, params, state, xs[: int(xs.shape[0])], context)

    patch.setattr(jaxrnn.MGU, "unroll", counted)


def steps_of_jax_alone(patch):
    """A step that passes NumPy arrays on to a cell that does not accept them."""
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


def booleans_as_they_come(patch):
    """A kernel that reads a byte for a boolean as if it were a float."""
    patch.setattr(kernel_table, "as_floats", lambda x, like: x)


def chunks_of_any_number(patch):
    """Chunks without a check for NaN: 0 * NaN is NaN in every step of a chunk."""
    patch.setattr(_guarded, "all_finite", lambda tree: jnp.array(True))


def plain_sums_of_decays(patch):
    """Differences of sums in one float, which one strong decay leaves without digits."""

    def in_one_part(log_decay):
        log_decay = jnp.maximum(log_decay, jnp.finfo(log_decay.dtype).min / 1e6)
        return _decays.Sum(jnp.zeros_like(log_decay), log_decay)

    patch.setattr(_decays, "_in_parts", in_one_part)


def differences_of_exponentials(patch):
    """(exp(z) - 1) / z, computed as written."""
    patch.setattr(_s5, "phi", lambda order, z: (jnp.exp(z) - 1) / z)


def losses_in_the_dtype_given(patch):
    """Sums in float16, which overflow at 65504."""
    patch.setattr(_losses, "_at_least_float32", jnp.asarray)


def states_in_the_dtype_of_params(patch):
    """An sLSTM that counts its steps in bfloat16."""
    patch.setattr(
        _slstm, "state_dtype", lambda params: jax.tree.leaves(params)[0].dtype
    )


def dtypes_of_numpy_alone(patch):
    """Checks that ask NumPy about every dtype; NumPy does not know typed keys."""
    patch.setattr(_check_step, "_dtype", lambda leaf: jnp.dtype(leaf.dtype))


def loops_that_vary_otherwise(patch):
    """A loop carry that starts replicated over devices and becomes varying."""
    patch.setattr(_unroll, "aligned", lambda tree, *like: tree)
    patch.setattr(_scan, "aligned", lambda tree, *like: tree)


def explicit_axes_within(patch):
    """Time and batch merged under vmap, although the types divide the batch over devices."""
    patch.setattr(_unroll, "on_automatic_axes", lambda fn, *given: fn)


def the_default_platform_decides(patch):
    """A program for another platform with the kernel of the default one."""

    patch.setattr(_auto, "platform", _platform.default_platform)


def on_a_mesh(context):
    """The law of meshes on one device, with the types of several."""
    return partial(
        mesh_check.check, jaxrnn.MGU(3, 4), jaxrnn.Scan(), [context], 1, marked=False
    )


GRU, MGU, GLA = (
    jaxrnn.GRU(3, 4),
    jaxrnn.MGU(3, 4),
    jaxrnn.GLA(3, 4, heads=2, key_size=2),
)
BY_CHUNKS = partial(testing.check_nan, GLA, strategy=jaxrnn.Chunked(4))
SYMBOLS = partial(testing.check_inputs, jaxrnn.Embedding(256, 3), x=jnp.int32(255))

PLANTED = [
    (narrow_symbols_wrap, SYMBOLS, "dtypes of inputs"),
    (resets_multiply, partial(testing.check_nan, jaxrnn.MinGRU(3, 4)), "NaN|nan"),
    (
        norms_divide_by_nothing,
        partial(testing.check_dtypes, jaxrnn.LayerNormGRU(3, 8)),
        "float16",
    ),
    (lambdas_by_default, partial(testing.check_copies, MGU), "copies: pickle"),
    (batch_sizes_are_numbers, partial(testing.check_export, MGU), "export"),
    (steps_of_jax_alone, partial(testing.check_numpy, MGU), "no array of JAX's"),
    (nothing, partial(testing.check_descent, Climbing()), "descent.*complex parameter"),
    (
        booleans_as_they_come,
        partial(narrow_numbers, GRU, bool),
        "equal output types|is bool",
    ),
    (chunks_of_any_number, BY_CHUNKS, "NaN|nan"),
    (plain_sums_of_decays, partial(strong_decays, "attention"), "final|outputs"),
    (plain_sums_of_decays, partial(strong_decays, "delta"), "final|outputs"),
    (differences_of_exponentials, partial(slow_poles, -1.1e-4 + 1e-3j), "tolerance"),
    (losses_in_the_dtype_given, partial(narrow_losses, jnp.float16), "float16"),
    (states_in_the_dtype_of_params, partial(long_memory, jnp.bfloat16), "float32"),
    (
        dtypes_of_numpy_alone,
        partial(keys, Noisy(), jaxrnn.Scan(), marked=False),
        "key<fry>",
    ),
    (loops_that_vary_otherwise, on_a_mesh("shard_map"), "sum in every step"),
    (explicit_axes_within, on_a_mesh("explicit"), "reshape is not supported"),
    (the_default_platform_decides, partial(kernels_on_cpu, GRU), "lowered for cuda"),
]


@pytest.mark.parametrize("plant, law, words", PLANTED)
def test_a_law_turns_red(plant, law, words, monkeypatch):
    jax.clear_caches()  # programs that were compiled before the fault
    plant(monkeypatch)
    # JAX raises its own kind of error where types clash, so the message decides
    with pytest.raises(Exception, match=words):
        law()
    monkeypatch.undo()
    jax.clear_caches()
