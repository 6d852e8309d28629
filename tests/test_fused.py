"""`Fused()` keeps every law, and refuses cells without a kernel with a reason."""

import jax
import jax.numpy as jnp
import pytest

import jaxrnn
from jaxrnn import (
    GRU,
    LSTM,
    Elman,
    Fused,
    IndRNN,
    LayerNormGRU,
    LearnedState,
    Stack,
    testing,
)
from jaxrnn.kernels import _native
from jaxrnn.strategies import kernel_table

from . import helpers
from .helpers import Decay, each


CELLS = [
    *(cell for cell in helpers.CELLS if kernel_table.find(cell)),
    IndRNN(3, 5, activation=jnp.tanh),
    LearnedState(LSTM(3, 5)),
    Decay(3),
]


@each("cell", CELLS)
def test_law_s(cell):
    options = ["lengths", "mask", "resets", "reverse"]
    testing.check_strategy(Fused(), cell, options, time=13, batch=3)


@each("cell", [LSTM(3, 5), GRU(3, 5), Decay(3)])
def test_padding_and_chunks(cell):
    testing.check_padding(cell, strategy=Fused(), time=5, batch=3)
    testing.check_chunks(cell, strategy=Fused(), time=23, batch=3)


@each("cell", [GRU(3, 5, reset_after=False), Decay(3)])
def test_vmap_jvp_and_hessian(cell):
    testing.check_transformations(cell, strategy=Fused(), time=3, batch=2)


def loss(params, xs, strategy):
    state, ys = jaxrnn.unroll(LSTM(3, 5), params, xs, strategy=strategy)
    return jnp.sum(ys**2) + jnp.sum(state.c)


def case(dtype=jnp.float32):
    params = LSTM(3, 5).init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (4, 2, 3))
    return jaxrnn.cast((params, xs), dtype)


def test_vmap_inside_and_outside_a_gradient():
    params, xs = case()
    many = jnp.stack([xs, 2 * xs])
    want = [jax.grad(loss)(params, x, jaxrnn.Scan()) for x in many]
    apart = jax.vmap(lambda x: jax.grad(loss)(params, x, Fused()))(many)
    stacked = jax.tree.map(lambda *g: jnp.stack(g), *want)
    testing.assert_close("vmap", "of a gradient", apart, stacked, 1e-5)
    whole = lambda p: jnp.sum(jax.vmap(lambda x: loss(p, x, Fused()))(many))
    added = jax.tree.map(lambda *g: sum(g), *want)
    testing.assert_close("vmap", "inside one", jax.grad(whole)(params), added, 1e-5)


def test_vmap_over_shared_weights_is_one_larger_batch():
    """One call forward and one backward, with inputs, lengths and resets per example."""
    params, xs = case()
    many = jnp.stack([xs, 2 * xs, 3 * xs])
    lengths = jnp.array([[4, 2], [0, 3], [1, 4]])
    resets = jnp.arange(24).reshape(3, 4, 2) % 5 == 0

    def whole(params, many, strategy):
        def one(x, lengths, resets):
            options = {"lengths": lengths, "resets": resets, "strategy": strategy}
            state, ys = jaxrnn.unroll(LSTM(3, 5), params, x, **options)
            return jnp.sum(ys**2) + jnp.sum(state.c)

        return jnp.sum(jax.vmap(one)(many, lengths, resets))

    both = jax.jit(jax.grad(whole, (0, 1)), static_argnums=2)
    text = both.lower(params, many, Fused()).as_text()
    assert "while" not in text and text.count("custom_call @jaxrnn_") == 2
    got, want = both(params, many, Fused()), both(params, many, jaxrnn.Scan())
    testing.assert_close("vmap", "over rows", got, want, 1e-5)


def test_auto_leaves_a_few_rows_to_xla():
    """Also with lengths and a state. For one sequence more, or by name, the kernel runs."""
    params, xs = case()
    auto, few = jaxrnn.Auto((Fused(), jaxrnn.Scan())), xs[:2]
    for rows, strategy, kernel in (
        (few, auto, False),
        (few, Fused(), True),
        (jnp.tile(xs[:1], (1, 3, 1))[:, :5], auto, True),
    ):
        lengths = jnp.arange(rows.shape[1]) % 2

        def run(params, rows, strategy, lengths=lengths):
            options = {"lengths": lengths, "strategy": strategy}
            return jaxrnn.unroll(LSTM(3, 5), params, rows, **options)

        run = jax.jit(run, static_argnums=2)
        assert ("@jaxrnn_" in run.lower(params, rows, strategy).as_text()) == kernel
        got, want = run(params, rows, strategy), run(params, rows, jaxrnn.Scan())
        testing.assert_close("rows", str(rows.shape), got, want, 1e-6)


def test_gradients_that_nobody_asked_for_are_not_computed():
    """The kernel returns empty arrays in their place, for inputs and for weights."""
    params, xs = case()
    empty = []
    for argument in (0, 1):
        text = jax.jit(jax.grad(loss, argument), static_argnums=2)
        text = text.lower(params, xs, Fused()).as_text()
        (call,) = [x for x in text.splitlines() if "@jaxrnn_backward" in x]
        empty.append(call.split("->")[1].count("tensor<0xf32>"))
    assert empty == [1, 3]


def test_a_part_of_the_gradients():
    """Of the inputs only, then of the params only: the other tangents are symbolic zeros."""
    params, xs = case()
    for argument in (0, 1):
        got = jax.grad(loss, argument)(params, xs, Fused())
        want = jax.grad(loss, argument)(params, xs, jaxrnn.Scan())
        testing.assert_close("grad", f"of {argument}", got, want, 1e-5)


def test_under_checkpoints():
    strategy = jaxrnn.Checkpointed(2, Fused())
    testing.check_strategy(strategy, GRU(3, 5), time=5, batch=2)


@pytest.mark.parametrize(
    "cell, dtype, reason",
    [
        (LayerNormGRU(3, 5), jnp.float32, r"cannot run LayerNormGRU\(.*no kernel"),
        (Elman(3, 5, activation=jnp.sin), jnp.float32, "cannot run Elman.*no kernel"),
        (LSTM(3, 5), jnp.bfloat16, "params, state and inputs are bfloat16"),
    ],
    ids=str,
)
def test_refusals(cell, dtype, reason):
    params, xs = jaxrnn.cast((cell.init(jax.random.key(0)), jnp.ones((4, 2, 3))), dtype)
    with pytest.raises(NotImplementedError, match=reason):
        jaxrnn.unroll(cell, params, xs, strategy=Fused())
    jaxrnn.unroll(cell, params, xs)


@pytest.mark.parametrize(
    "name, text", [("file", "not built"), ("library", "do not load here")]
)
def test_without_the_library_everything_still_works(name, text, monkeypatch, tmp_path):
    file = tmp_path / "libjaxrnn.so"
    if name == "library":
        file.write_text("no library")
    monkeypatch.setattr(_native, "_file", lambda: file)
    _native.library.cache_clear()
    jax.clear_caches()
    try:
        explained = str(jaxrnn.explain(LSTM(3, 5), (4, 2, 3)))
        assert "runs          Hoisted()" in explained
        assert text in explained and "pip install" in explained
        jaxrnn.unroll(LSTM(3, 5), *case())
        with pytest.raises(NotImplementedError, match="compiler"):
            jaxrnn.unroll(LSTM(3, 5), *case(), strategy=Fused())
    finally:
        _native.library.cache_clear()
        jax.clear_caches()


def test_it_is_the_default_where_it_can_be():
    model = Stack((LSTM(3, 5), LayerNormGRU(5, 4), GRU(4, 4)))
    said = jaxrnn.explain(model, (6, 2, 3))
    ran = [type(d.choice.strategy).__name__ for d in said.decisions]
    assert ran == ["Fused", "Hoisted", "Fused"]


def test_the_table_knows_the_cell_and_nothing_that_looks_like_it():
    class Mine(LSTM):
        """A user's subclass with other equations."""

    assert kernel_table.find(LSTM(3, 5)) is not None
    assert kernel_table.find(Mine(3, 5)) is None
