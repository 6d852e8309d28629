"""`mask=`: a skipped step keeps the state, outputs zero, and influences nothing."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from jaxrnn import GLA, GRU, LSTM, MLSTM, Bidirectional, Elman, MinGRU, Stack, testing
from jaxrnn.testing._case import awkward_mask, make_case, value_and_grads

from .helpers import Decay, each


@dataclass(frozen=True)
class Sum(jaxrnn.Cell):
    """h' = h + x, from 100."""

    def init(self, key):
        return ()

    def initial_state(self, params):
        return jnp.full(1, 100.0)

    def recur(self, params, state, z):
        return state + z


XS = jnp.asarray([1.0, 2.0, jnp.nan, 8.0, 16.0, jnp.nan, 64.0])[:, None, None]
MASK = np.array([True, True, False, True, True, False, True])[:, None]


def sums(resets=(), **options):
    """State and outputs over `XS`, from the state 1000, with steps 2 and 5 skipped."""
    marks = np.isin(np.arange(7), resets)[:, None]
    state, ys = jaxrnn.unroll(
        Sum(), (), XS, jnp.full((1, 1), 1000.0), mask=MASK, resets=marks, **options
    )
    return float(state[0, 0]), ys.ravel().tolist()


def test_values_written_out():
    assert sums() == (1091, [1001, 1003, 0, 1011, 1027, 0, 1091])
    assert sums(reverse=True) == (1091, [1091, 1090, 0, 1088, 1080, 0, 1064])


def test_a_reset_at_a_skipped_step_cuts_there():
    """Forward, step 3 starts fresh; in reverse, step 1 does, which follows step 2."""
    cut = [1001, 1003, 0, 108, 124, 0, 188]
    assert sums([2]) == sums([3]) == sums([2, 3]) == (188, cut)
    back = (103, [103, 102, 0, 1088, 1080, 0, 1064])
    assert sums([2], reverse=True) == sums([3], reverse=True) == back
    assert sums([2, 3], reverse=True) == back


def test_a_reset_in_a_hole_at_the_end_resets_the_state_that_is_returned():
    xs, mask = XS[:3], MASK[:3]
    resets = np.array([False, False, True])[:, None]
    given = jnp.full((1, 1), 1000.0)
    state, _ = jaxrnn.unroll(Sum(), (), xs, given, mask=mask, resets=resets)
    assert float(state[0, 0]) == 100
    # resets past the length of a sequence are ignored
    lengths = jnp.array([2])
    state, _ = jaxrnn.unroll(Sum(), (), xs, given, lengths=lengths, resets=resets)
    assert float(state[0, 0]) == 1003


def test_beside_lengths_a_step_is_taken_where_both_say_so():
    state, ys = jaxrnn.unroll(Sum(), (), XS, mask=MASK, lengths=jnp.array([4]))
    assert float(state[0, 0]) == 111
    assert ys.ravel().tolist() == [101, 103, 0, 111, 0, 0, 0]


PAIRS = [
    (Elman(3, 4), jaxrnn.Hoisted(block=3)),
    (LSTM(3, 4), jaxrnn.Fused()),
    (GRU(3, 4, reset_after=False), jaxrnn.Fused()),
    (Decay(3), jaxrnn.Fused()),
    (GRU(3, 4), jaxrnn.Newton()),
    (Stack((GRU(3, 3),) * 3), jaxrnn.Wavefront()),
    (Bidirectional(GRU(3, 4)), jaxrnn.Wavefront()),
    (MinGRU(3, 4), jaxrnn.Chunked(4)),
    (MLSTM(3, 4, heads=2), jaxrnn.Chunked(4)),
    (GLA(3, 4, heads=2, key_size=2), jaxrnn.Chunked(4)),
    (Bidirectional(LSTM(3, 4)), jaxrnn.Checkpointed(3)),
]


QUICK = [PAIRS[i] for i in (0, 1, 3, 4, 5, 8)]


@each("pair", PAIRS, QUICK)
def test_every_strategy_equals_steps_in_turn(pair):
    layer, strategy = pair
    testing.check_unroll(layer, ["mask", "resets"], strategy=strategy, time=7)


@each("pair", PAIRS, QUICK)
def test_nan_in_skipped_steps_reaches_nothing(pair):
    layer, strategy = pair
    with jax.enable_x64(True):
        case = make_case(layer, 7, 4, 0)
        mask = awkward_mask(case)

        def run(layer, params, xs, state):
            return jaxrnn.unroll(layer, params, xs, state, mask=mask, strategy=strategy)

        spoilt = jnp.where(mask[..., None], case.xs, jnp.nan)
        got, want = value_and_grads(run, case, spoilt), value_and_grads(run, case)
        testing.assert_close("mask", str(layer), got, want, 1e-9)


@each("strategy", [jaxrnn.Scan(), jaxrnn.Hoisted()])
def test_a_bad_state_that_is_kept_until_a_reset_reaches_no_layer_above(strategy):
    """The outputs of skipped steps are zero: zero times NaN would reach the weights above."""
    layer = Stack((GRU(3, 4), GRU(4, 4)))
    params, xs = layer.init(jax.random.key(0)), jnp.ones((5, 2, 3))
    mask = jnp.ones((5, 2), bool).at[:2, 0].set(False)
    resets = jnp.zeros((5, 2), bool).at[2, 0].set(True)
    clean, _ = jaxrnn.unroll(layer, params, xs)
    bad = jax.tree.map(lambda s: s.at[0].set(jnp.nan), clean)

    def loss(params, state):
        options = {"mask": mask, "resets": resets, "strategy": strategy}
        return jnp.sum(jaxrnn.unroll(layer, params, xs, state, **options)[1] ** 2)

    want, got = jax.grad(loss)(params, clean), jax.grad(loss)(params, bad)
    testing.assert_close("NaN", "of a kept state", got, want, 1e-6)
