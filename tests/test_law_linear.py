"""The laws for linear and matrix cells, under the strategies that are made for them.

Sizes are small, since compiling takes the time.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import (
    GLA,
    LRU,
    MLSTM,
    QRNN,
    RGLRU,
    SRU,
    SSD,
    Associative,
    Chunked,
    DeltaNet,
    GatedDeltaNet,
    LearnedState,
    MinGRU,
    MinLSTM,
    Scan,
    testing,
)

from .helpers import LINEAR, MATRIX, each


LAYERS = LINEAR + MATRIX
SOME = [LRU(3, 4), MLSTM(3, 4, heads=2)]


OPTIONS = ["lengths", "mask", "resets", "reverse"]


@each("cell", LAYERS)
def test_chunks_equal_the_scan(cell):
    """Resets inside the chunks, lengths of 0, backwards: values and every gradient."""
    testing.check_strategy(Chunked(4), cell, OPTIONS, time=8, batch=4)


@each("cell", [*MATRIX[:3], MATRIX[-1]], [MATRIX[1], MATRIX[-1]])
def test_long_chunks_equal_the_scan(cell):
    """Chunks of two whole pieces and a part of a third."""
    testing.check_strategy(Chunked(150), cell, OPTIONS, time=150, batch=4)


@each("cell", SOME)
def test_chunks_equal_steps_in_turn(cell):
    """One whole chunk and a part of another, against the reference of single steps."""
    testing.check_unroll(cell, OPTIONS, strategy=Chunked(4), time=6, batch=4)


@each("cell", LAYERS)
def test_protocol_and_no_retracing(cell):
    testing.check_protocol(cell)
    testing.check_retracing(cell)


@each("cell", [LINEAR[0], LINEAR[-1]])
def test_doubling_equals_the_scan(cell):
    testing.check_strategy(Associative(), cell, time=7, batch=4)


LEARNED = [LearnedState(SRU(3, 4)), LearnedState(MLSTM(3, 4))]


@each("cell", [RGLRU(4), GLA(3, 4), LINEAR[-1], MATRIX[-1], *SOME, *LEARNED], SOME)
def test_dtypes_are_kept(cell):
    testing.check_dtypes(cell, strategy=Chunked(4))


@each("cell", SOME)
def test_padding_and_streaming(cell):
    testing.check_padding(cell, strategy=Chunked(4), time=4)
    testing.check_chunks(cell, strategy=Chunked(4), time=6)


def test_chunks_have_every_derivative():
    testing.check_transformations(MinGRU(2, 2), strategy=Chunked(2), time=2, batch=1)


def test_doubling_has_every_derivative():
    testing.check_transformations(RGLRU(2), strategy=Associative(), time=3, batch=1)


def test_second_derivatives_of_the_delta_rule(x64):
    """Its triangular systems have a custom derivative, which equals that of single steps."""
    cell = DeltaNet(2, 4, negative_eigenvalues=True)
    params, xs = (
        cell.init(jax.random.key(0)),
        jax.random.normal(jax.random.key(1), (5, 1, 2)),
    )
    direction = cell.init(jax.random.key(2))

    def bent(strategy):
        def loss(params):
            state, ys = jaxrnn.unroll(cell, params, xs, strategy=strategy)
            return jnp.sum(jnp.sin(ys)) + jnp.sum(jnp.sin(state))

        return jax.jvp(jax.grad(loss), (params,), (direction,))

    for got, want in zip(bent(Chunked(3)), bent(Scan()), strict=True):
        jax.tree.map(
            lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-9), got, want
        )


@each("cell", [MinGRU(3, 4), GLA(3, 4)])
def test_a_learned_initial_state_leaves_a_cell_what_it_is(cell):
    kind = jaxrnn.LinearCell if isinstance(cell, MinGRU) else jaxrnn.MatrixCell
    learned = LearnedState(cell)
    assert isinstance(learned, kind) and isinstance(learned, LearnedState)
    assert str(learned) == f"LearnedState(cell={cell})"
    assert not isinstance(LearnedState(jaxrnn.GRU(3, 4)), kind)
    (decision,) = jaxrnn.explain(learned, (5, 2, 3)).decisions
    assert decision.choice.strategy == Chunked()


def test_cells_that_are_not_linear_are_refused():
    for strategy in (Chunked(), Associative()):
        with pytest.raises(
            NotImplementedError, match=r"GRU\(input_size=3.*neither|is not"
        ):
            jaxrnn.explain(jaxrnn.GRU(3, 4), (5, 2, 3), strategy=strategy)
    with pytest.raises(NotImplementedError, match=r"GLA.* is not a LinearCell"):
        jaxrnn.explain(GLA(3, 4), (5, 2, 3), strategy=Associative())


def temporary_bytes(cell, strategy, time):
    """The temporary memory of the gradient of a loss."""
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0)))
    xs = jax.ShapeDtypeStruct((time, 1, cell.input_size), jnp.float32)

    def loss(params, xs):
        return jnp.sum(jaxrnn.unroll(cell, params, xs, strategy=strategy)[1])

    compiled = jax.jit(jax.grad(loss)).lower(params, xs).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@each("cell", [MLSTM(4, 32), GatedDeltaNet(4, 32)])
def test_no_matrix_is_stored_for_each_step(cell):
    """By the memory that 2048 more steps take."""
    matrix = 32 * 32 * 4
    assert temporary_bytes(cell, Scan(), 2048) > 2048 * matrix
    more = [temporary_bytes(cell, Chunked(), time) for time in (2048, 4096)]
    assert more[1] - more[0] < 2048 * matrix / 5


@each("cell", [LRU(3, 4), MinLSTM(3, 4), SSD(3, 4, 2), DeltaNet(3, 4, 2)])
def test_packed_rows_equal_separate_sequences(cell):
    """Three documents in one sequence, separated by resets, or each as its own sequence."""
    params = cell.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (90, 1, 3))
    starts = np.array([0, 30, 60])
    resets = np.zeros((90, 1), bool)
    resets[starts] = True
    _, packed = jaxrnn.unroll(cell, params, xs, resets=resets)
    apart = xs.reshape(3, 30, 3).transpose(1, 0, 2)
    _, separate = jaxrnn.unroll(cell, params, apart)
    np.testing.assert_allclose(
        packed.reshape(3, 30, -1).transpose(1, 0, 2), separate, rtol=1e-4, atol=1e-5
    )


@each(
    "cell",
    [
        LRU(2, 4, r_min=0.9999, r_max=0.99999),
        RGLRU(2),
        MinGRU(2, 4),
        GLA(2, 4),
        MLSTM(2, 4),
        SSD(2, 4),
        GatedDeltaNet(2, 4, negative_eigenvalues=True),
    ],
)
def test_a_hundred_thousand_steps_do_not_drift(cell):
    """float32 against float64, over the last thousand steps: within 1e-3 of their size.

    The largest rounding is that of the memory's own decay, a = 0.99999 in the LRU: an
    error of 6e-8 in it is one of 6e-8 / (1 - a) = 6e-3 in the sum that it keeps, were
    the signs of the inputs not random.
    """
    time = 100_000
    params = cell.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (time, 1, 2))

    def last(dtype):
        _, ys = jaxrnn.unroll(cell, *jaxrnn.cast((params, xs), dtype))
        return np.asarray(ys[-1000:], np.float64)

    low = last(jnp.float32)
    with jax.enable_x64(True):
        high = last(jnp.float64)
    assert np.max(np.abs(low - high)) <= 1e-3 * np.max(np.abs(high))


def test_parameter_gradients_of_low_precision_are_added_up_in_float32():
    """The sum has 1024 equal terms, one a chunk; in bfloat16 it would stop growing at 256."""
    cell = QRNN(3, 4)
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0)))
    xs = jnp.ones((4096, 1, 3))

    def loss(params, xs):
        ys = jaxrnn.unroll(cell, params, xs, strategy=Chunked(4))[1]
        return jnp.sum(ys.astype(jnp.float32))

    want = jax.grad(loss)(params, xs)
    got = jax.grad(loss)(*jaxrnn.cast((params, xs), jnp.bfloat16))
    assert got.b.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.asarray(got.b, np.float32), np.asarray(want.b), rtol=0.02, atol=1e-2
    )
