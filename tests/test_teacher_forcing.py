"""`TeacherForcing` against a plain loop, under every strategy that runs it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import GRU, LRU, LSTM, Elman, Fused, Hoisted, Newton, Scan, TeacherForcing
from jaxrnn.layers import Forcing, TeacherForcingState

from .helpers import each


T, B = 8, 3
FORMS = [{"every": 3}, {"alpha": 0.3}]


def normal(shape, dtype, seed):
    re, im = np.random.default_rng(seed).standard_normal((2, *shape))
    numbers = re + 1j * im if jnp.issubdtype(dtype, jnp.complexfloating) else re
    return jnp.asarray(numbers.astype(dtype))


def given(cell, units=None):
    """Params, inputs, data and a state of a cell, in the default dtype."""
    params = cell.init(jax.random.key(0))
    one = cell.initial_state(params)
    state = jax.tree.map(lambda s: normal((B, *s.shape), s.dtype, 1), one)
    data = jax.tree.map(
        lambda s: normal((T, B, *s.shape), s.dtype, 2)[..., :units], one
    )
    return params, Forcing(normal((T, B, 3), jnp.zeros(()).dtype, 4), data), state


def by_loop(cell, params, xs, state, *, every=None, alpha=0.0, lengths=None,
            resets=None, steps=0):  # fmt: skip
    """The states and outputs of a plain loop over sequences and steps."""
    at = lambda tree, *index: jax.tree.map(lambda leaf: leaf[index], tree)
    states, outputs = [], []
    for b in range(B):
        s, count, ys = at(state, b), steps, []
        for t in range(T if lengths is None else int(lengths[b])):
            if resets is not None and bool(resets[t, b]):
                s, count = cell.initial_state(params), 0
            share = alpha if every is None else float(count % every == 0)
            s, y = cell.step(params, mixed(share, s, at(xs.state, t, b)), xs.x[t, b])
            ys.append(y)
            count += 1
        states.append(s)
        padding = [jnp.zeros_like(ys[0])] * (T - len(ys))
        outputs.append(jnp.stack(ys + padding))
    return jax.tree.map(lambda *s: jnp.stack(s), *states), jnp.stack(outputs, 1)


def mixed(share, state, data):
    def one(s, d):
        n = d.shape[-1]
        return s.at[..., :n].set(share * d + (1 - share) * s[..., :n])

    return jax.tree.map(one, state, data)


def own_state(state):
    return state.cell if isinstance(state, TeacherForcingState) else state


def compare(layer, strategy, form, units=None, steps=0, **masks):
    """Values, and gradients by params, inputs, data and the carried state."""
    cell = layer.cell
    params, xs, state = given(cell, units=units)

    def total(out):
        leaves = jax.tree.leaves(out)
        return sum(
            jnp.sum((leaf * normal(leaf.shape, leaf.dtype, 3)).real) for leaf in leaves
        )

    def unrolled(params, xs, state):
        if layer.every is not None:
            state = TeacherForcingState(state, jnp.full(B, steps, jnp.int32))
        out = jaxrnn.unroll(layer, params, xs, state, strategy=strategy, **masks)
        out = own_state(out[0]), out[1]
        return total(out), out

    def looped(params, xs, state):
        out = by_loop(cell, params, xs, state, steps=steps, **form, **masks)
        return total(out), out

    found, want = (
        jax.value_and_grad(run, argnums=(0, 1, 2), has_aux=True)(params, xs, state)
        for run in (unrolled, looped)
    )
    jaxrnn.testing.assert_close("loop", f"{layer} {strategy}", found, want, 1e-9)


CELLS = [Elman(3, 4), GRU(3, 4), LSTM(3, 4), LRU(3, 4)]
LENGTHS = jnp.array([8, 5, 1])


@each("form", FORMS)
@each("cell", CELLS, CELLS[:3])
def test_it_equals_a_loop_with_lengths_and_a_carried_state(cell, form):
    with jax.enable_x64(True):
        layer = TeacherForcing(cell, **form)
        for steps, masks in ((0, {"lengths": LENGTHS}), (2, {})):
            compare(layer, Scan(), form, steps=steps, **masks)


RESETS = jnp.zeros((T, B), bool).at[4, 0].set(True).at[jnp.array([1, 2]), 1].set(True)


@each("form", FORMS)
def test_it_equals_a_loop_with_resets_and_some_of_the_units(form):
    with jax.enable_x64(True):
        layer = TeacherForcing(GRU(3, 4), **form)
        compare(layer, Scan(), form, units=2, lengths=LENGTHS, resets=RESETS, steps=1)


FUSED = [
    (Elman(3, 4), {"every": 3}),
    (GRU(3, 4), {"every": 3}),
    (LSTM(3, 4), {"every": 3}),
    (Elman(3, 4), {"alpha": 0.3}),
    (jaxrnn.LearnedState(Elman(3, 4)), {"alpha": 0.3}),
]


@pytest.mark.parametrize("cell, form", FUSED, ids=str)
def test_the_kernels_equal_a_loop(cell, form):
    with jax.enable_x64(True):
        layer = TeacherForcing(cell, **form)
        compare(layer, Fused(), form, steps=2, lengths=LENGTHS)
        if "alpha" in form:
            compare(layer, Fused(), form, units=2, lengths=LENGTHS, resets=RESETS)


@each("form", FORMS)
@each("strategy", [Newton(), Hoisted(block=4)], [Newton()])
def test_other_strategies_equal_a_loop(strategy, form):
    with jax.enable_x64(True):
        layer = TeacherForcing(GRU(3, 4), **form)
        compare(layer, strategy, form, steps=1, lengths=LENGTHS)
        compare(layer, strategy, form, lengths=LENGTHS, resets=RESETS)


@each("form", FORMS)
def test_a_linear_cell_stays_linear(form):
    with jax.enable_x64(True):
        layer = TeacherForcing(LRU(3, 4), **form)
        for strategy in (jaxrnn.Associative(), jaxrnn.Chunked(3)):
            compare(layer, strategy, form, lengths=LENGTHS, resets=RESETS)


def test_forcing_of_every_step_is_a_map_of_one_step():
    cell = GRU(3, 4)
    params, xs, _ = given(cell)
    for layer in (TeacherForcing(cell, every=1), TeacherForcing(cell, alpha=1.0)):
        _, ys = jaxrnn.unroll(layer, params, xs)
        step = lambda s, x: cell.step(params, s, x)[1]
        want = jax.vmap(jax.vmap(step))(xs.state, xs.x)
        np.testing.assert_allclose(ys, want, rtol=1e-5, atol=1e-6)


def test_without_forcing_it_is_the_cell():
    cell = LSTM(3, 4)
    params, xs, state = given(cell)
    free = TeacherForcing(cell, alpha=0.0)
    same = (
        jaxrnn.unroll(free, params, xs, state),
        jaxrnn.unroll(cell, params, xs.x, state),
    )
    jaxrnn.testing.assert_close("free", "alpha", *same, 1e-5)
    # the first step is forced, so the cell runs freely from the first state of the data
    first = jax.tree.map(lambda d: d[0], xs.state)
    after, ys = jaxrnn.unroll(TeacherForcing(cell, every=T + 1), params, xs)
    want = jaxrnn.unroll(cell, params, xs.x, first)
    jaxrnn.testing.assert_close("free", "every", (after.cell, ys), want, 1e-5)


def test_chunks_continue_the_schedule_and_forcing_cuts_the_gradient():
    layer = TeacherForcing(GRU(3, 4), every=3)
    x = Forcing(jnp.zeros(3), jnp.zeros(4))
    jaxrnn.testing.check_chunks(layer, x=x, time=7, batch=2)
    jaxrnn.testing.check_unroll(layer, ["lengths", "mask", "reverse"], x=x)
    params, xs, state = given(layer.cell)

    def last(data, state):
        state = TeacherForcingState(state, jnp.ones(B, jnp.int32))
        return jaxrnn.unroll(layer, params, Forcing(xs.x, data), state)[1][-1].sum()

    by_data, by_state = jax.grad(last, argnums=(0, 1))(xs.state, state)
    used = np.asarray(by_data != 0).any(axis=(1, 2))
    assert used.tolist() == [t == 5 for t in range(T)] and not np.any(by_state)


def test_nan_in_data_that_are_not_used_reaches_nothing():
    layer = TeacherForcing(GRU(3, 4), every=3)
    params, xs, state = given(layer.cell)
    unused = (jnp.arange(T) % 3 != 0)[:, None, None]
    spoiled = xs._replace(state=jnp.where(unused, jnp.nan, xs.state))
    start = TeacherForcingState(jnp.full_like(state, jnp.nan), jnp.zeros(B, jnp.int32))
    clean = TeacherForcingState(state, start.steps)
    at_forced = jnp.zeros((T, B), bool).at[3].set(True)

    def loss(params, xs, start, resets):
        ys = jaxrnn.unroll(layer, params, xs, start, lengths=LENGTHS, resets=resets)[1]
        return jnp.sum(ys**2)

    for resets in (None, at_forced):
        found = jax.value_and_grad(loss)(params, spoiled, start, resets)
        want = jax.value_and_grad(loss)(params, xs, clean, resets)
        jaxrnn.testing.assert_close("NaN", str(layer), found, want, 0.0)


def test_a_strategy_that_cannot_says_which_can():
    for layer, masks in (
        (TeacherForcing(GRU(3, 4), alpha=0.3), {}),
        (TeacherForcing(GRU(3, 4), every=3), {"resets": RESETS}),
    ):
        params, xs, _ = given(layer.cell)
        with pytest.raises(NotImplementedError, match=r"not from data; Hoisted\(\)"):
            jaxrnn.unroll(layer, params, xs, strategy=Fused(), **masks)


def test_the_refusal_of_a_gradient_method_names_another():
    cell = TeacherForcing(Elman(3, 4), every=3)
    params, xs, _ = given(cell.cell)
    loss = lambda y, target: jnp.sum((y - target) ** 2)
    targets = jnp.zeros((T, B, 4))
    exact = jaxrnn.value_and_grad(cell, loss, params, xs, targets)
    with pytest.raises(NotImplementedError, match="use BPTT"):
        jaxrnn.value_and_grad(cell, loss, params, xs, targets, method=jaxrnn.RTRL())
    mixed = TeacherForcing(Elman(3, 4), alpha=0.3)
    exact = jaxrnn.value_and_grad(mixed, loss, params, xs, targets)
    found = jaxrnn.value_and_grad(
        mixed, loss, params, xs, targets, method=jaxrnn.RTRL()
    )
    jaxrnn.testing.assert_close("RTRL", str(mixed), found, exact, 1e-4)


BAD = {
    "both": (lambda: TeacherForcing(GRU(3, 4), 3, 0.5), ValueError, "exactly one"),
    "neither": (lambda: TeacherForcing(GRU(3, 4)), ValueError, "exactly one"),
    "zero": (lambda: TeacherForcing(GRU(3, 4), every=0), ValueError, "at least 1"),
    "share": (lambda: TeacherForcing(GRU(3, 4), alpha=1.5), ValueError, "from 0 to 1"),
    "word": (lambda: TeacherForcing(GRU(3, 4), alpha="a"), TypeError, "number"),
    "stack": (
        lambda: TeacherForcing(jaxrnn.Stack((GRU(3, 4),)), every=3),
        TypeError,
        "one cell",
    ),
    "input": (lambda: run(jnp.ones((T, B, 3))), TypeError, "Forcing"),
    "units": (lambda: run(data=jnp.ones((T, B, 5))), ValueError, r"\(5,\).*\(4,\)"),
    "axes": (lambda: run(data=jnp.ones((T, B))), ValueError, r"\(\).*\(4,\)"),
    "empty": (
        lambda: run(Forcing(jnp.ones((0, B, 3)), jnp.ones((0, B, 4)))),
        ValueError,
        "no time steps",
    ),
    "batch": (
        lambda: run(Forcing(jnp.ones((T, 0, 3)), jnp.ones((T, 0, 4)))),
        ValueError,
        "no sequences",
    ),
    "complex": (
        lambda: run(data=jnp.ones((T, B, 4), jnp.complex64)),
        TypeError,
        "complex64",
    ),
    "tuple": (lambda: run(data=(jnp.ones((T, B, 4)),)), ValueError, "give an array"),
    "structure": (
        lambda: run(data=jnp.ones((T, B, 4)), cell=LSTM(3, 4)),
        ValueError,
        "for each part",
    ),
}


def run(xs=None, data=None, cell=GRU(3, 4)):
    layer = TeacherForcing(cell, every=3)
    xs = Forcing(jnp.ones((T, B, 3)), data) if xs is None else xs
    return jaxrnn.unroll(layer, layer.init(jax.random.key(0)), xs)


@pytest.mark.parametrize("call, kind, words", BAD.values(), ids=BAD)
def test_bad_input_gets_a_clear_error(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_one_step_and_integer_data():
    layer = TeacherForcing(Elman(3, 4), every=3)
    params = layer.init(jax.random.key(0))
    xs = Forcing(jnp.ones((1, B, 3)), jnp.zeros((1, B, 4), jnp.int32))
    state, ys = jaxrnn.unroll(layer, params, xs)
    assert ys.shape == (1, B, 4) and state.steps.tolist() == [1] * B
