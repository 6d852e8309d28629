"""Losses, updates, batches of a text, and checkpoints."""

import os
import signal
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxrnn
from jaxrnn import training


KEY = jax.random.key(0)
MASK = jnp.array([[True, True], [True, False], [False, False]])


@pytest.fixture(autouse=True)
def as_optax_needs_it():
    """JAX's default promotion: optax multiplies Python floats with integers."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_losses_are_means_over_the_steps_that_count():
    """Each against the sum over steps, written out in NumPy."""
    logits = np.asarray(jax.random.normal(KEY, (3, 2, 4)))
    labels = np.array([[0, 3], [2, 1], [1, 1]])
    targets = np.asarray(jax.random.bernoulli(KEY, 0.5, (3, 2, 4))).astype(np.float32)
    steps = [(t, b) for t in range(3) for b in range(2) if MASK[t, b]]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    sigmoid = 1 / (1 + np.exp(-logits))
    nll = -(targets * np.log(sigmoid) + (1 - targets) * np.log(1 - sigmoid))
    squares = (logits - targets) ** 2
    want = {
        training.cross_entropy: -np.mean([log_p[t, b, labels[t, b]] for t, b in steps]),
        training.bernoulli: np.mean([nll[t, b].sum() for t, b in steps]),
        training.squared_error: np.mean([squares[t, b].mean() for t, b in steps]),
    }
    for loss, value in want.items():
        truth = jnp.asarray(labels if loss is training.cross_entropy else targets)
        got = loss(jnp.asarray(logits), truth, MASK)
        np.testing.assert_allclose(got, value, rtol=1e-5)
        full = loss(jnp.asarray(logits), truth)
        np.testing.assert_allclose(full, loss(jnp.asarray(logits), truth, MASK | True))


@pytest.mark.parametrize(
    "loss", [training.cross_entropy, training.bernoulli, training.squared_error]
)
def test_padding_reaches_neither_loss_nor_gradient(loss):
    logits = jax.random.normal(KEY, (3, 2, 4))
    truth = (
        jnp.ones((3, 2), int) if loss is training.cross_entropy else jnp.ones((3, 2, 4))
    )
    spoiled = jnp.where(MASK[..., None], logits, jnp.nan)
    value, grad = jax.value_and_grad(loss)(spoiled, truth, MASK)
    clean = jax.value_and_grad(loss)(logits, truth, MASK)
    np.testing.assert_allclose(value, clean[0])
    np.testing.assert_allclose(grad, clean[1])
    assert float(loss(logits, truth, jnp.zeros_like(MASK))) == 0.0


def test_valid_steps_follow_the_lengths():
    got = training.valid_steps(jnp.array([2, 1], jnp.uint8), 3)
    np.testing.assert_array_equal(got, MASK)


@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_an_update_is_that_of_optax_with_clipping(max_norm):
    params = {"w": jnp.array([3.0, 4.0])}

    def loss(params, scale):
        return scale * jnp.sum(params["w"] ** 2) / 2, "aux"

    def traced(params, scale):
        return loss(params, scale)[0], scale

    step = training.make_train_step(traced, optax.sgd(0.1), max_norm=max_norm)
    state = training.train_state(params, optax.sgd(0.1))
    state, update = step(state, 2.0)
    # the gradient is 2 w = (6, 8), of norm 10
    factor = 1.0 if max_norm is None else max_norm / 10
    want = np.array([3.0, 4.0]) - 0.1 * factor * np.array([6.0, 8.0])
    np.testing.assert_allclose(state.params["w"], want, rtol=1e-6)
    np.testing.assert_allclose(update.gradient_norm, 10.0, rtol=1e-6)
    assert float(update.loss) == 25.0
    assert int(state.step) == 1


def test_parameters_of_every_layer_can_be_donated():
    """No buffer occurs twice, so a train step can donate all of them."""
    layers = (
        jaxrnn.LearnedState(jaxrnn.PeepholeLSTM(3, 4)),
        jaxrnn.LayerNormLSTM(4, 4),
        jaxrnn.LayerNormGRU(4, 4),
        jaxrnn.GRU(4, 4),
    )
    model = jaxrnn.Stack(layers)

    def loss(params, xs):
        return jnp.sum(jaxrnn.unroll(model, params, xs)[1] ** 2), None

    step = training.make_train_step(loss, optax.adam(1e-3))
    state = training.train_state(model.init(KEY), optax.adam(1e-3))
    for _ in range(2):
        state, update = step(state, jnp.ones((5, 2, 3)))
    assert np.isfinite(float(update.loss))


def test_text_batches_go_on_where_the_last_stopped():
    text = np.arange(103)
    batches = training.TextBatches(text, batch=4, steps=6)
    assert len(batches) == (103 // 4 - 1) // 6 == 4
    inputs = np.concatenate([batches[k].inputs for k in range(4)])
    targets = np.concatenate([batches[k].targets for k in range(4)])
    for b in range(4):
        np.testing.assert_array_equal(inputs[:, b], 25 * b + np.arange(24))
    np.testing.assert_array_equal(targets, inputs + 1)
    assert [bool(batches[k].resets.any()) for k in range(5)] == [
        True,
        *[False] * 3,
        True,
    ]
    assert batches[0].resets[0].all() and not batches[0].resets[1:].any()
    for field in ("inputs", "targets", "resets"):
        again = getattr(batches[4], field)
        np.testing.assert_array_equal(again, getattr(batches[0], field))


def test_streams_restart_one_after_the_other():
    batches = training.TextBatches(np.arange(1000), batch=4, steps=5, restart_every=8)
    starts = np.array([batches[k].resets[0] for k in range(1, 33)])
    np.testing.assert_array_equal(starts.sum(axis=0), [4, 4, 4, 4])
    assert starts.sum(axis=1).max() == 1, "two at once"
    assert not any(batches[k].resets[1:].any() for k in range(33))


def test_training_in_batches_carries_the_state_on():
    """Batch by batch, with the state carried over, equals one pass over the whole text."""
    model = jaxrnn.Stack((jaxrnn.Embedding(30, 4), jaxrnn.GRU(4, 5)))
    params = model.init(KEY)
    batches = training.TextBatches(np.arange(61) % 30, batch=2, steps=7)
    state, parts = None, []
    for k in range(len(batches)):
        state, ys = jaxrnn.unroll(
            model, params, batches[k].inputs, state, resets=batches[k].resets
        )
        parts.append(ys)
    whole = np.concatenate([batches[k].inputs for k in range(len(batches))])
    _, want = jaxrnn.unroll(model, params, whole)
    np.testing.assert_allclose(np.concatenate(parts), want, atol=1e-6)


def tree(value: float) -> dict:
    """A tree with every kind of leaf that a run saves."""
    optimizer = optax.adam(1e-3)
    params = jaxrnn.GRU(3, 4).init(KEY)
    return {
        "train": training.train_state(params, optimizer),
        "low": jnp.full(3, value, jnp.bfloat16),
        "key": jax.random.key(7),
        "position": np.asarray(int(value)),
    }


def test_checkpoints_give_back_what_was_saved(tmp_path):
    with training.Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.latest is None
        with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
            checkpoints.restore(tree(0))
        for step in (1, 2, 3):
            checkpoints.save(step, tree(step))
    with training.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest == 3
        got, want = checkpoints.restore(tree(0)), tree(3)
        assert checkpoints.restore(tree(0), 2)["position"] == 2
    assert jax.tree.structure(got) == jax.tree.structure(want)
    numbers = jax.random.uniform(got["key"]), jax.random.uniform(want["key"])
    assert numbers[0] == numbers[1]
    for name in ("train", "low", "position"):
        jax.tree.map(np.testing.assert_array_equal, got[name], want[name])
    assert len([p for p in tmp_path.iterdir() if p.name.isdigit()]) == 2


def test_a_process_killed_while_it_saves_leaves_the_checkpoint_before(tmp_path):
    script = """
        import sys, jax.numpy as jnp
        from jaxrnn import training
        with training.Checkpoints(sys.argv[1]) as checkpoints:
            for step in range(1, 10**6):
                checkpoints.save(step, {"w": jnp.full(10**6, step)})
                print(step, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    safe = [int(process.stdout.readline()) for _ in range(3)][-1]
    os.kill(process.pid, signal.SIGKILL)
    rest = process.communicate()[0].split()
    safe = int(rest[-1]) if rest else safe
    with training.Checkpoints(tmp_path) as checkpoints:
        latest = checkpoints.latest
        restored = checkpoints.restore({"w": jnp.zeros(10**6, int)})
    assert latest >= safe
    np.testing.assert_array_equal(restored["w"], np.full(10**6, latest))
