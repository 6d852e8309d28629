"""Law G, over the tables of cells and methods, and what every gradient method promises."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxrnn
from jaxrnn import (
    BPTT,
    KFRTRL,
    RFLO,
    RTRL,
    TBPTT,
    UORO,
    DiagonalRTRL,
    EProp,
    ForwardMode,
    Immediate,
    SnAp,
    testing,
    training,
)
from jaxrnn.gradients import GivenFeedback, RandomFeedback
from jaxrnn.testing._gradient import step_loss

from .helpers import CELLS, KINDS, each, example, label


MODEL = jaxrnn.Stack(
    (
        jaxrnn.Embedding(7, 3),
        jaxrnn.LSTM(3, 4),
        jaxrnn.Residual(jaxrnn.GRU(4, 4)),
        jaxrnn.Dense(4, 2),
    )
)
ELEMENT_WISE = [
    jaxrnn.LRU(3, 4),
    jaxrnn.S5(3, 4, blocks=2),
    jaxrnn.RGLRU(4, heads=2),
    jaxrnn.MinGRU(3, 4),
    jaxrnn.MinLSTM(3, 4),
    jaxrnn.QRNN(3, 4),
    jaxrnn.SRU(3, 4),
    jaxrnn.IndRNN(3, 5),
    jaxrnn.ParaGRU(3, 5),
    jaxrnn.ParaLSTM(3, 5),
    jaxrnn.LearnedState(jaxrnn.MinGRU(3, 4)),
    jaxrnn.Stack((jaxrnn.Embedding(7, 4), jaxrnn.LRU(4, 3), jaxrnn.Dense(4, 2))),
]
SMALL = jaxrnn.Stack((jaxrnn.Embedding(7, 3), jaxrnn.Elman(3, 4), jaxrnn.Dense(4, 2)))
EVERY = [
    BPTT(), ForwardMode(), RTRL(), TBPTT(2), TBPTT(1, 3), SnAp(1), SnAp(2), UORO(), KFRTRL(),
    RFLO(), EProp(), EProp(RandomFeedback()), Immediate(),
]  # fmt: skip
FEW = [RTRL(), TBPTT(2), KFRTRL(), EProp()]
"""One method of each kind."""
ONLINE = [method for method in EVERY if not isinstance(method, BPTT)]


def key_of(method):
    return jax.random.key(5) if method.random else None


def batch(layer, time=6, size=3, seed=0):
    case = testing._case.make_case(layer, time, size, seed, example_of(layer))
    ys = jax.eval_shape(lambda: jaxrnn.unroll(layer, case.params, case.xs)[1])
    rng = np.random.default_rng(1)
    return case, jnp.asarray(rng.standard_normal(ys.shape), ys.dtype)


def gradients(method, layer=SMALL, **options):
    """`(value, grads)` of a method on a random batch."""
    case, targets = batch(layer)

    def run(params):
        how = {"method": method, "key": key_of(method), **options}
        return jaxrnn.value_and_grad(layer, step_loss, params, case.xs, targets, **how)

    return jax.jit(run)(case.params)


def far(a, b):
    """The largest error, relative to the largest entry of b."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(jnp.abs(x - y).max() / jnp.abs(y).max()) for x, y in pairs)


@each("cell", [*CELLS, MODEL], [*(c for c in KINDS if c in CELLS), MODEL])
def test_rtrl_is_exact(cell):
    testing.check_gradient(RTRL(), cell, x=example_of(cell), time=5, batch=2)


def example_of(layer):
    """An input of one step: the largest symbol for a stack that starts with symbols."""
    first = getattr(layer, "layers", (layer,))[0]
    return jnp.int32(6) if isinstance(first, jaxrnn.Embedding) else example(layer)


@each("cell", ELEMENT_WISE, ELEMENT_WISE[:1] + ELEMENT_WISE[9:])
def test_one_trace_per_parameter_is_exact_for_element_wise_cells(cell):
    testing.check_gradient(DiagonalRTRL(), cell, x=example_of(cell), time=5, batch=2)


@pytest.mark.parametrize("method", EVERY, ids=label)
def test_the_value_is_that_of_autodiff(method):
    x = jnp.int32(6)
    how = {"x": x, "time": 5, "batch": 3, "key": key_of(method)}
    testing.check_gradient(method, SMALL, **how)


@pytest.mark.parametrize(
    "method",
    [SnAp(9), TBPTT(3, 50), TBPTT(6), TBPTT(2, 6), TBPTT(4, 6), TBPTT(1, 6)],
    ids=label,
)
@pytest.mark.parametrize("masked", [False, True])
def test_at_its_limit_a_method_is_exact(method, masked, x64):
    options = {}
    if masked:
        resets = np.random.default_rng(2).random((6, 3)) < 0.3
        options = {"lengths": jnp.array([6, 0, 4]), "resets": jnp.asarray(resets)}
    layer = jaxrnn.Stack((jaxrnn.LearnedState(jaxrnn.LSTM(3, 4)), jaxrnn.Dense(4, 2)))
    value, grads = gradients(method, layer, **options)
    want, exact = gradients(BPTT(), layer, **options)
    assert value == pytest.approx(float(want), rel=1e-12)
    assert far(grads, exact) < 1e-10


@pytest.mark.parametrize("method", [RTRL(), ForwardMode(), TBPTT(2, 6)], ids=label)
def test_in_float32_the_error_is_that_of_rounding(method):
    assert far(gradients(method)[1], gradients(BPTT())[1]) < 1e-5


@pytest.mark.parametrize("method", EVERY, ids=label)
def test_parameters_outside_the_recurrence_get_their_exact_gradient(method, x64):
    """The readout under every method, the embedding under all that do not cut time."""
    got, want = gradients(method)[1], gradients(BPTT())[1]
    assert far(got[2], want[2]) < 1e-10
    if not isinstance(method, TBPTT):
        assert far(got[0], want[0]) < 1e-10
    if not (method.exact or method == SnAp(2)):
        assert far(got[1], want[1]) > 1e-3, "this window cannot tell them apart"


@each("method", EVERY, FEW)
def test_resets_cut_every_trace(method, x64):
    """With a reset in every step there is no past, and every method is exact.

    Except for the cell under random feedback, and under UORO, which has a random estimate
    even of one step.
    """
    resets = jnp.ones((6, 3), bool)
    got, want = (gradients(m, resets=resets)[1] for m in (method, BPTT()))
    feedback = getattr(method, "feedback", None)
    random = isinstance(feedback, RandomFeedback) or isinstance(method, UORO)
    for part in (0, 2) if random else (0, 1, 2):
        assert far(got[part], want[part]) < 1e-10


@each("method", EVERY, FEW)
def test_nan_in_the_padding_reaches_nothing(method):
    layer = jaxrnn.Stack((jaxrnn.Elman(3, 4), jaxrnn.Dense(4, 2)))
    case, targets = batch(layer)
    lengths = jnp.array([6, 0, 4])
    valid = training.valid_steps(lengths, 6)[..., None]
    run = lambda xs, targets: jaxrnn.value_and_grad(
        layer, step_loss, case.params, xs, targets, lengths=lengths, method=method,
        key=key_of(method),
    )  # fmt: skip
    want = run(case.xs, targets)
    got = run(jnp.where(valid, case.xs, jnp.nan), jnp.where(valid, targets, jnp.nan))
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(got))


@each("method", EVERY, FEW)
@each("kind", ["float16", "bfloat16", "NumPy", "int8 symbols"], ["bfloat16", "NumPy"])
def test_inputs_of_every_kind(method, kind):
    case, targets = batch(SMALL)
    run = lambda params, xs, targets: jaxrnn.value_and_grad(
        SMALL, step_loss, params, xs, targets, method=method, key=key_of(method)
    )
    want = run(case.params, case.xs, targets)
    params, xs = case.params, case.xs
    if kind == "NumPy":
        params, xs, targets = jax.tree.map(np.asarray, (params, xs, targets))
    elif kind == "int8 symbols":
        xs = xs.astype(jnp.int8)
    else:
        params, targets = jaxrnn.cast((params, targets), jnp.dtype(kind))
    value, grads = run(params, xs, targets)
    assert value.dtype == jnp.float32  # sums over time are
    dtypes = jax.tree.map(lambda p: p.dtype, params)
    assert jax.tree.map(lambda g: g.dtype, grads) == dtypes
    # the roundings of six steps, in the whole gradient: a small entry may lose more
    narrow = {"float16": 5e-3, "bfloat16": 5e-2}
    apart = jax.tree.map(lambda g, w: g.astype(w.dtype) - w, grads, want[1])
    error = optax.tree.norm(apart) / optax.tree.norm(want[1])
    assert error <= narrow.get(kind, 0.0)


@pytest.mark.parametrize("method", ONLINE, ids=label)
def test_online_updates_add_up_to_the_gradient_of_the_sequence(method, x64):
    case, targets = batch(SMALL)
    params, size = case.params, 3
    state = jax.tree.map(
        lambda s: jnp.broadcast_to(s, (size, *s.shape)), SMALL.initial_state(params)
    )
    x = case.xs[0, 0]
    key = key_of(method)
    keys = None if key is None else jax.random.split(key, size)
    init = lambda key: method.init(SMALL, params, x, key=key)
    traces = jax.vmap(init, axis_size=size)(keys)

    def body(carry, inputs):
        traces, state = carry
        one = lambda trace, state, x, target: method.update(
            SMALL, step_loss, params, trace, state, x, target
        )
        traces, state, losses, grads = jax.vmap(one)(traces, state, *inputs)
        return (traces, state), (losses.sum(), jax.tree.map(lambda g: g.sum(0), grads))

    inputs = (case.xs, targets)
    _, (losses, grads) = jax.jit(lambda c, i: jax.lax.scan(body, c, i))(
        (traces, state), inputs
    )
    value, want = gradients(method)
    assert losses.sum() / 18 == pytest.approx(float(value), rel=1e-10)
    got = jax.tree.map(lambda g: g.sum(0) / 18, grads)
    assert far(got, want) < 1e-10


@pytest.mark.parametrize(
    "method, layer, numbers",
    [
        (RTRL(), jaxrnn.Elman(3, 4), 4 * (12 + 16 + 4)),
        (RTRL(), jaxrnn.Stack((jaxrnn.Elman(3, 4), jaxrnn.Dense(4, 9))), 4 * 32),
        (SnAp(1), jaxrnn.Elman(3, 4), 12 + 16 + 4),
        (SnAp(1), jaxrnn.GRU(3, 4), 3 * (12 + 16 + 4) + 4),
        (SnAp(1), jaxrnn.LSTM(3, 4), 2 * 4 * (12 + 16 + 4)),
        (DiagonalRTRL(), jaxrnn.MinGRU(3, 4), 2 * (12 + 4)),
        (DiagonalRTRL(), jaxrnn.LRU(3, 4), 2 * (4 + 4 + 4 + 12 + 12)),
        (EProp(), jaxrnn.GRU(3, 4), 3 * (12 + 16 + 4) + 4),
        (RFLO(GivenFeedback(np.ones((4, 4)))), jaxrnn.Elman(3, 4), 32 + 16),
        (Immediate(), jaxrnn.GRU(3, 4), 0),
        (UORO(), jaxrnn.Elman(3, 4), 4 + 32 + 1),
        (KFRTRL(), jaxrnn.Elman(3, 4), (3 + 4) + 2 * 16 + 16 + 1),
        (TBPTT(2, 5), jaxrnn.Elman(3, 4), 5 * (4 + 3 + 4 + 1 + 1) + 1),
    ],
    ids=label,
)
def test_the_trace_has_the_size_that_is_promised(method, layer, numbers):
    params = layer.init(jax.random.key(0))
    trace = method.init(layer, params, jnp.ones(3), key=jax.random.key(1))
    assert sum(leaf.size for leaf in jax.tree.leaves(trace)) == numbers


def test_a_trace_survives_a_checkpoint(tmp_path):
    layer = jaxrnn.Elman(3, 4)
    params, x = layer.init(jax.random.key(0)), jnp.ones(3)
    method = UORO()
    trace = method.init(layer, params, x, key=jax.random.key(1))
    step = lambda trace, state: method.update(
        layer, step_loss, params, trace, state, x, jnp.ones(4)
    )
    first = step(trace, layer.initial_state(params))
    with training.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, first.trace)
        again = checkpoints.restore(first.trace)
    want = step(first.trace, first.state).grads
    jax.tree.map(np.testing.assert_array_equal, step(again, first.state).grads, want)


CASES = [
    (DiagonalRTRL(), jaxrnn.GRU(3, 4), NotImplementedError, r"SnAp\(1\) approximates"),
    (RFLO(), jaxrnn.GRU(3, 4), NotImplementedError, r"EProp\(\) is the same"),
    (KFRTRL(), jaxrnn.LearnedState(jaxrnn.GRU(3, 4)), NotImplementedError, "UORO"),
    (KFRTRL(), jaxrnn.RGLRU(4, heads=2), NotImplementedError, "are matrices"),
    (UORO(), jaxrnn.GRU(3, 4), ValueError, "give it a random key"),
    (
        RTRL(),
        jaxrnn.Bidirectional(jaxrnn.GRU(3, 4)),
        NotImplementedError,
        "single steps",
    ),
    (
        EProp(GivenFeedback(np.ones((3, 4)))),
        jaxrnn.GRU(3, 4),
        ValueError,
        r"\(4, 4\) is needed",
    ),
]


@pytest.mark.parametrize("method, layer, error, message", CASES, ids=label)
def test_a_method_that_does_not_fit_says_which_does(method, layer, error, message):
    case, targets = batch(layer)
    key = jax.random.key(0) if isinstance(method, KFRTRL) else None
    with pytest.raises(error, match=message):
        jaxrnn.value_and_grad(
            layer, step_loss, case.params, case.xs, targets, method=method, key=key
        )


def test_arguments_are_checked():
    case, targets = batch(SMALL)
    run = lambda targets=targets, loss=step_loss, **given: jaxrnn.value_and_grad(
        SMALL, loss, case.params, case.xs, targets, **given
    )
    with pytest.raises(TypeError, match="method is"):
        run(method="rtrl")
    with pytest.raises(ValueError, match="give a target for each step"):
        run(targets[:3])
    with pytest.raises(ValueError, match="one real number"):
        run(loss=lambda y, target: y - target)
    with pytest.raises(ValueError, match="without dropout"):
        run(method=RTRL(), key=jax.random.key(0))
    with pytest.raises(ValueError, match="k2 of at least k1"):
        TBPTT(3, 2)
    with pytest.raises(NotImplementedError, match="no online form"):
        BPTT().init(SMALL, case.params, case.xs[0, 0])


def test_dropout_has_its_key_under_backpropagation():
    layer = jaxrnn.Stack((jaxrnn.Elman(3, 4), jaxrnn.Dropout(0.5)))
    case, targets = batch(layer)
    run = lambda method, key: jaxrnn.value_and_grad(
        layer, step_loss, case.params, case.xs, targets, method=method, key=key
    )
    key = jax.random.key(3)
    value, grads = run(BPTT(), key)
    assert value != run(BPTT(), None)[0]
    forward = run(ForwardMode(chunk=7), key)
    assert far(forward[1], grads) < 1e-5
