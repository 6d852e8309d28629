"""The random layers, and the combinators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import (
    GRU,
    LSTM,
    Dropout,
    Stack,
    VariationalDropout,
    Zoneout,
    testing,
    unroll,
)

from .helpers import each


KEY = jax.random.key(3)


@each("layer", [Dropout(0.3), VariationalDropout(0.3)])
def test_dropout_keeps_its_share_and_the_mean(layer):
    xs = jnp.ones((40, 50, 60))
    _, ys = unroll(layer, (), xs, key=KEY)
    dropped = float(jnp.mean((ys == 0).astype(float)))
    masks = 50 * 60 * (1 if isinstance(layer, VariationalDropout) else 40)
    error = 4 * np.sqrt(0.3 * 0.7 / masks)  # four standard deviations
    assert abs(dropped - 0.3) < error
    kept = np.unique(np.asarray(ys)[np.asarray(ys) != 0])
    np.testing.assert_allclose(kept, 1 / 0.7, rtol=1e-6)


def test_dropout_is_fresh_at_each_step_and_the_variational_one_is_not():
    xs = jnp.ones((5, 2, 20))
    _, fresh = unroll(Dropout(0.5), (), xs, key=KEY)
    _, same = unroll(VariationalDropout(0.5), (), xs, key=KEY)
    assert not bool((fresh[0] == fresh[1]).all())
    assert bool((same == same[:1]).all())
    assert not bool((same[:, 0] == same[:, 1]).all()), "one mask for all rows"


@each(
    "layer",
    [
        Dropout(0.5),
        VariationalDropout(0.5),
        Stack((Dropout(0.5), VariationalDropout(0.1))),
    ],
)
def test_without_a_key_dropout_is_the_identity(layer):
    xs = jax.random.normal(KEY, (5, 2, 3))
    _, ys = unroll(layer, layer.init(KEY), xs)
    np.testing.assert_array_equal(ys, xs)


def test_the_layers_of_a_stack_draw_apart():
    layer = Stack((Dropout(0.5), Dropout(0.5)))
    xs = jnp.ones((50, 4, 20))
    _, ys = unroll(layer, layer.init(KEY), xs, key=KEY)
    # two masks of one half that agreed would leave one half, not a quarter
    assert 0.2 < float(jnp.mean((ys != 0).astype(float))) < 0.3


def test_zoneout_keeps_units_at_its_rate_and_is_right_on_average():
    cell = GRU(3, 40)
    layer = Zoneout(cell, 0.25)
    params = layer.init(KEY)
    state = jax.random.normal(KEY, (64, 40))
    xs = jnp.ones((1, 64, 3))
    scan = jaxrnn.Scan()
    many = jax.vmap(
        lambda key: unroll(layer, params, xs, state, key=key, strategy=scan)[0]
    )
    after = many(jax.random.split(KEY, 200))
    kept = float(jnp.mean((after == state[None]).astype(float)))
    assert abs(kept - 0.25) < 4 * np.sqrt(0.25 * 0.75 / after.size)
    expected, _ = unroll(layer, params, xs, state)
    assert float(jnp.max(jnp.abs(after.mean(0) - expected))) < 0.2
    # the same strategy for both, so that they agree to the last bit but one
    updated, _ = unroll(cell, params, xs, state, strategy=scan)
    zoned = jnp.where(after[0] == state, state, updated)
    np.testing.assert_allclose(after[0], zoned, rtol=1e-6)


def test_zoneout_takes_a_rate_for_each_part_of_the_state():
    layer = Zoneout(LSTM(3, 5), jaxrnn.cells.LSTMState(h=0.0, c=0.999999))
    params = layer.init(KEY)
    state = jaxrnn.cells.LSTMState(jnp.ones((2, 5)), 2 * jnp.ones((2, 5)))
    after, _ = unroll(layer, params, jnp.ones((1, 2, 3)), state, key=KEY)
    np.testing.assert_array_equal(after.c, state.c)
    assert bool((after.h != state.h).all())


@each("layer", [Stack((Dropout(0.5), GRU(3, 5))), Zoneout(LSTM(3, 5), 0.5)])
def test_a_key_gives_the_same_answer_under_every_strategy_and_with_padding(layer):
    params, xs = layer.init(KEY), jax.random.normal(KEY, (9, 4, 3))
    lengths = jnp.array([9, 0, 3, 5])
    options = {"key": KEY, "lengths": lengths}
    want = unroll(layer, params, xs, strategy=jaxrnn.Scan(), **options)
    got = unroll(layer, params, xs, strategy=jaxrnn.Checkpointed(4), **options)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got, want)
    spoiled = jnp.where(
        jnp.arange(9)[:, None, None] < lengths[None, :, None], xs, jnp.nan
    )
    got = unroll(layer, params, spoiled, **options)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got, want)


def test_old_style_keys_are_taken():
    xs = jnp.ones((5, 2, 3))
    _, new = unroll(Dropout(0.5), (), xs, key=jax.random.key(0))
    _, old = unroll(Dropout(0.5), (), xs, key=jax.random.PRNGKey(0))
    np.testing.assert_array_equal(new, old)


def test_drop_connect_drops_recurrent_weights_alone():
    layer = Stack((LSTM(3, 40), GRU(40, 40)))
    params = layer.init(KEY)
    dropped = jaxrnn.drop_connect(params, 0.25, KEY)
    for before, after in zip(params, dropped, strict=True):
        share = float(jnp.mean((after.u == 0).astype(float)))
        assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / after.u.size)
        kept = after.u != 0
        np.testing.assert_allclose(
            after.u[kept], before.u[kept] / jnp.float32(0.75), rtol=1e-6
        )
        np.testing.assert_array_equal(after.w, before.w)
    everything = jaxrnn.drop_connect(params, 0.5, KEY, where=lambda path: True)
    assert bool((everything[0].w == 0).any())


def test_documents_packed_into_one_row_do_not_see_each_other():
    """In both directions, packed documents give the same results as separate ones."""
    layer = jaxrnn.Bidirectional(GRU(3, 5))
    params = layer.init(KEY)
    xs = jax.random.normal(KEY, (9, 1, 3))
    resets = jnp.zeros((9, 1), bool).at[jnp.array([0, 4, 7]), 0].set(True)
    _, packed = unroll(layer, params, xs, resets=resets)
    apart = [unroll(layer, params, xs[a:b])[1] for a, b in ((0, 4), (4, 7), (7, 9))]
    np.testing.assert_allclose(packed, jnp.concatenate(apart), atol=1e-6)


def test_a_learned_state_gets_a_gradient_from_every_restart():
    cell = jaxrnn.LearnedState(GRU(3, 5))
    params, xs = cell.init(KEY), jax.random.normal(KEY, (6, 2, 3))

    def loss(params, resets):
        return jnp.sum(unroll(cell, params, xs, resets=resets)[1] ** 2)

    none = jnp.zeros((6, 2), bool)
    once = jax.grad(loss)(params, none).initial
    twice = jax.grad(loss)(params, none.at[3].set(True)).initial
    assert float(jnp.max(jnp.abs(once))) > 0
    assert float(jnp.max(jnp.abs(once - twice))) > 1e-4


def test_a_state_that_is_given_does_not_touch_the_learned_one():
    cell = jaxrnn.LearnedState(GRU(3, 5))
    params, xs = cell.init(KEY), jnp.ones((6, 2, 3))
    grad = jax.grad(lambda p: jnp.sum(unroll(cell, p, xs, jnp.ones((2, 5)))[1]))(params)
    np.testing.assert_array_equal(grad.initial, jnp.zeros(5))


@each("wrapped", [Zoneout(GRU(3, 3), 0.1), jaxrnn.Residual(GRU(3, 3))])
def test_wrappers_keep_the_parameters_of_what_they_wrap(wrapped):
    cell = GRU(3, 3)
    jax.tree.map(np.testing.assert_array_equal, wrapped.init(KEY), cell.init(KEY))


def test_skip_connections_written_out():
    first, second = GRU(3, 2), jaxrnn.LSTM(3 + 2, 4)
    model = jaxrnn.SkipStack((first, second))
    params = model.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (5, 2, 3))
    state, ys = jaxrnn.unroll(model, params, xs)
    s_1, y_1 = jaxrnn.unroll(first, params[0], xs)
    s_2, y_2 = jaxrnn.unroll(second, params[1], jnp.concatenate([xs, y_1], -1))
    want = (s_1, s_2), jnp.concatenate([y_1, y_2], -1)
    testing.assert_close("skip", "two layers", (state, ys), want, 1e-6)


def test_skip_connections_of_symbols_and_of_wrong_sizes_are_refused():
    symbols = jnp.zeros((5, 2), int)
    model = jaxrnn.SkipStack((jaxrnn.Embedding(7, 3), GRU(3, 2)))
    with pytest.raises(ValueError, match="put the embedding below it"):
        jaxrnn.unroll(model, model.init(jax.random.key(0)), symbols)
    model = jaxrnn.SkipStack((GRU(3, 2), GRU(2, 2)))
    with pytest.raises(ValueError, match=r"in layer 1 of the stack, GRU"):
        jaxrnn.unroll(model, model.init(jax.random.key(0)), jnp.ones((5, 2, 3)))
    with pytest.raises(ValueError, match=r"SkipStack\(layers=\(\)\)"):
        jaxrnn.SkipStack(())
