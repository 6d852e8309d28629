"""The 3-bit flip-flop: the task, and the fixed points of networks that learned it."""

import jax
import numpy as np

import jaxrnn
from experiments.flipflop.analysis import bits_kept
from experiments.flipflop.task import Batch, make_batch

from .helpers import losses, small


def test_each_bit_is_the_last_pulse():
    batch = make_batch(np.random.default_rng(0), 30, 4, 0.3)
    assert 0.2 < (batch.pulses != 0).mean() < 0.4
    for sequence in range(4):
        for bit in range(3):
            last = 0.0
            for t in range(30):
                last = batch.pulses[t, sequence, bit] or last
                assert batch.bits[t, sequence, bit] == last
                assert batch.valid[t, sequence, bit] == (last != 0)


def test_bits_are_kept_by_a_latch_and_not_by_a_leak():
    """h' = tanh(3 h + 9 x) keeps its sign; h' = -h + x has the wrong one after odd steps."""
    latch = jaxrnn.IndRNN(3, 3, activation=jax.numpy.tanh)
    params = latch.init(jax.random.key(0))
    eye, ones, zeros = np.eye(3, dtype=np.float32), np.ones(3, np.float32), params.b * 0
    pulses = np.ones((1, 2, 3), np.float32)
    test = Batch(pulses, pulses, pulses > 0)
    good = params._replace(w=9 * eye, u=3 * ones, b=zeros)
    assert bits_kept(latch, good, test, 51) == 1
    assert bits_kept(latch, params._replace(w=eye, u=-2 * ones, b=zeros), test, 51) == 0


def test_a_stable_point_for_each_memory_and_saddles_between_them(tmp_path):
    results, folder = small("flipflop", tmp_path)
    (error, corners, kept), _ = results["rows"][:3], results["rows"][3:]
    assert losses(folder / "tanh/seed-0")[-1] < 0.02
    assert error["values"][0] < 0.02 < error["baselines"]["the pulse of this step"]
    assert corners["values"] == [8.0] and kept["values"] == [1.0]
    counts = results["facts"]["fixed points by unstable directions"]["tanh"][0]
    assert counts[0] == 8 and counts[1] >= 8
