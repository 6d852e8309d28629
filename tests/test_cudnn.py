"""`CuDNN`: weights, lengths, derivatives, refusals, and what is lowered for CUDA.

There is no GPU here. JAX's call of cuDNN needs three things that only its plugin for CUDA
has: two sizes, the descriptor, and code to run. The tests replace the sizes and the
descriptor, so the program lowered for CUDA is JAX's own except for them; and for values on
the CPU they run the call as `jax.experimental.rnn.lstm_ref`, JAX's reference of it.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn
from jax.interpreters import mlir

import jaxrnn
from jaxrnn import GRU, LSTM, Bidirectional, CuDNN, Dense, Dropout, Scan, Stack
from jaxrnn.strategies import _cudnn

from .helpers import each


SIZES = (
    16,
    24,
)  # floats of workspace and of residuals; on a device cuDNN says how many
LENGTHS = jnp.array([7, 0, 3])
MASK = jnp.array(
    [[1, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1], [1, 0, 1], [0, 0, 0], [1, 0, 1]]
)
LAYERS = [
    LSTM(3, 4),
    LSTM(3, 4, use_bias=False),
    Stack((LSTM(3, 4), LSTM(4, 4), LSTM(4, 4, use_bias=False))),
    Bidirectional(LSTM(3, 4)),
    Stack((Bidirectional(LSTM(3, 4)), Dropout(0.5), LSTM(8, 4), LSTM(4, 5))),
    Bidirectional(LSTM(3, 4), LSTM(3, 5)),
    jaxrnn.LearnedState(LSTM(3, 4)),
]


class Descriptor:
    """The part of JAX's plugin for CUDA that writes cuDNN's arguments."""

    @staticmethod
    def build_rnn_descriptor(*arguments):
        return repr(arguments).encode()


@pytest.fixture
def plugin(monkeypatch):
    """JAX as it is with its plugin for CUDA; returns the sizes that were asked for."""
    asked = []

    def sizes(*arguments):
        asked.append(arguments)
        return SIZES

    name = "compute_rnn_workspace_reserve_space_sizes"
    monkeypatch.setattr(rnn.gpu_rnn, name, sizes, raising=False)
    for primitive, rule in (
        (rnn.rnn_fwd_p, rnn.gpu_rnn._rnn_fwd_lowering),
        (rnn.rnn_bwd_p, rnn.gpu_rnn._rnn_bwd_lowering),
    ):
        rule = partial(rule, Descriptor, "cu")
        mlir.register_lowering(primitive, rule, platform="cuda")
    return asked


def reference(x, h, c, weights, lengths, options):
    sizes = [options[n] for n in ("input_size", "hidden_size", "num_layers")]
    both = options["bidirectional"]
    matrices = rnn.unpack_lstm_weights(weights, *sizes, both)
    return rnn.lstm_ref(x, h, c, *matrices, lengths, *sizes, 0.0, both)


def forward(*operands, **options):
    y, h, c = reference(*operands, options)
    # nothing may read what cuDNN leaves past the end of a sequence
    inside = jnp.arange(y.shape[1])[None] < operands[-1][:, None]
    return jnp.where(inside[..., None], y, jnp.nan), h, c, jnp.full(SIZES[1], 5.0)


def backward(*args, **options):
    *grads, x, h, c, weights, _, kept, lengths = args
    run = lambda *operands: reference(*operands, lengths, options)
    # the residuals arrive as they left
    good = jnp.all(kept == 5.0)
    found = jax.vjp(run, x, h, c, weights)[1](tuple(grads))
    return [jnp.where(good, g, jnp.nan) for g in found]


@pytest.fixture
def cpu(plugin, monkeypatch):
    """The call of cuDNN as plain JAX on the CPU."""
    monkeypatch.setattr(_cudnn, "_PLATFORM", "cpu")
    for primitive, run in ((rnn.rnn_fwd_p, forward), (rnn.rnn_bwd_p, backward)):
        rule = mlir.lower_fun(run, multiple_results=True)
        mlir.register_lowering(primitive, rule, platform="cpu")


def case(layer, time=7, batch=3):
    keys = iter(jax.random.split(jax.random.key(0), 40))
    noisy = lambda a: a + 0.3 * jax.random.normal(next(keys), a.shape)
    params = jax.tree.map(noisy, layer.init(next(keys)))
    one = layer.initial_state(params)
    state = jax.tree.map(lambda s: noisy(jnp.zeros((batch, *s.shape))), one)
    return params, noisy(jnp.zeros((time, batch, 3))), state


def both(layer, run, **options):
    """The results of a function of an unrolled layer, under `Scan` and under `CuDNN`."""
    args = case(layer)
    unrolled = lambda s: lambda *a: jaxrnn.unroll(layer, *a, strategy=s, **options)
    return [jax.jit(run(unrolled(s)))(*args) for s in (Scan(), CuDNN())]


def loss(run):
    def summed(*args):
        leaves = jax.tree.leaves(run(*args))
        # other weights for each leaf: h and c have the same shape
        phases = [jnp.arange(x.size, dtype=x.dtype) for x in leaves]
        weights = [jnp.cos(phase + 1.5 * i) for i, phase in enumerate(phases)]
        return sum(w @ x.ravel() for w, x in zip(weights, leaves, strict=True))

    return summed


def assert_equal(want, got, tolerance=2e-6):
    jaxrnn.testing.assert_close("CuDNN", "against Scan", got, want, tolerance)


OPTIONS = [
    (LAYERS[0], {"lengths": LENGTHS}),
    (LAYERS[2], {"lengths": LENGTHS, "reverse": True}),
    (LAYERS[3], {"mask": MASK > 0, "reverse": True}),
]
MORE = [
    *((layer, {"lengths": LENGTHS}) for layer in LAYERS[1:]),
    *((layer, {}) for layer in LAYERS[2:4]),
]


def full(row):
    return pytest.param(*row, marks=pytest.mark.full)


@each("layer, options", [*OPTIONS, *map(full, MORE)])
def test_values_and_gradients_equal_those_of_scan(cpu, layer, options):
    """With an initial state, and gradients of params, inputs and state."""
    grads = lambda run: jax.grad(loss(run), (0, 1, 2))
    results = lambda run: lambda *args: (run(*args), grads(run)(*args))
    (want, d_want), (got, d_got) = both(layer, results, **options)
    assert_equal(want, got)
    assert_equal(d_want, d_got, tolerance=1e-5)


def test_padding_reaches_nothing(cpu):
    layer = Bidirectional(LSTM(3, 4))
    params, xs, state = case(layer)
    steps = jnp.arange(7)[:, None] < LENGTHS[None]
    xs = jnp.where(steps[..., None], xs, jnp.nan)
    run = lambda *a: jaxrnn.unroll(layer, *a, lengths=LENGTHS, strategy=CuDNN())
    for tree in (
        run(params, xs, state),
        jax.grad(loss(run), (0, 1, 2))(params, xs, state),
    ):
        assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(tree))


@each("layer", LAYERS[2:4], LAYERS[3:4])
def test_other_derivatives_and_vmap_equal_those_of_scan(cpu, layer):
    def forward_mode(run):
        return lambda *args: jax.jvp(run, args, jax.tree.map(jnp.sin, args))[1]

    def hessian_vector(run):
        grad = jax.grad(loss(run), (0, 1))
        return lambda *args: jax.jvp(grad, args, jax.tree.map(jnp.sin, args))[1]

    def many(run):
        axes = (None, 2, 0)
        grads = jax.vmap(jax.grad(loss(run), (0, 1)), axes)
        twice = lambda x, axis: jnp.stack([x, 0.5 * x], axis)
        return lambda p, x, s: grads(
            p, twice(x, 2), jax.tree.map(lambda s: twice(s, 0), s)
        )

    def many_weights(run):
        twice = lambda p: jax.tree.map(lambda p: jnp.stack([p, 0.5 * p]), p)
        grads = jax.vmap(jax.grad(loss(run), (0, 1)), (0, None, None))
        return lambda p, x, s: grads(twice(p), x, s)

    for transformed in (forward_mode, hessian_vector, many, many_weights):
        assert_equal(*both(layer, transformed, lengths=LENGTHS), tolerance=2e-5)


def test_weights_are_packed_as_jax_unpacks_them():
    """Every gate of every matrix, in the layout that `unpack_lstm_weights` documents."""
    params = case(Stack((LSTM(3, 4), LSTM(4, 4))))[0]
    flat = _cudnn.packed([(p.w, p.u, p.b) for p in params])
    assert flat.size == rnn.get_num_params_in_lstm(3, 4, 2, False)
    w_ih, w_hh, b_ih, b_hh = rnn.unpack_lstm_weights(flat, 3, 4, 2, False)
    for i, p in enumerate(params):
        np.testing.assert_array_equal(w_ih[i], p.w.T)
        np.testing.assert_array_equal(w_hh[i], p.u.T)
        np.testing.assert_array_equal(b_ih[i], p.b)
        assert not b_hh[i].any()


def lowered(fn, args, platform="cuda"):
    return jax.jit(fn).trace(*args).lower(lowering_platforms=(platform,)).as_text()


@each("layer, calls", [(LAYERS[0], 1), (LAYERS[2], 1), (LAYERS[3], 1), (LAYERS[4], 3)])
def test_programs_for_cuda_hold_one_call_for_layers_that_are_joined(
    plugin, layer, calls
):
    args = case(layer)
    run = lambda *a: jaxrnn.unroll(layer, *a, strategy=CuDNN())
    text = lowered(run, args)
    assert text.count("@cudnn_rnn_ffi") == calls
    assert "while" not in text
    text = lowered(jax.grad(loss(run)), args)
    assert text.count("@cudnn_rnn_ffi") == text.count("@cudnn_rnn_bwd_ffi") == calls


def test_the_call_has_the_sizes_and_the_precision_asked_for(plugin):
    layer = Bidirectional(LSTM(3, 4))
    args = case(layer)
    for precision, tf32 in ((None, True), ("highest", False), ("default", True)):
        run = lambda *a: jaxrnn.unroll(layer, *a, strategy=CuDNN())
        with jax.default_matmul_precision(precision):
            lowered(run, args)
        # inputs, hidden, layers, batch, time, dropout, bidirectional, TF32 allowed
        assert plugin[-1] == (3, 4, 1, 3, 7, 0.0, True, tf32)


@each("platform", ["cpu", "tpu", "rocm"])
def test_programs_for_other_platforms_are_refused_in_words(plugin, platform):
    run = lambda *a: jaxrnn.unroll(LSTM(3, 4), *a, strategy=CuDNN())
    with pytest.raises(
        NotImplementedError, match=rf"CUDA only.*lowered for {platform}"
    ):
        lowered(run, case(LSTM(3, 4)), platform)


def refusal(layer, params=None, xs=None, **options):
    params = layer.init(jax.random.key(0)) if params is None else params
    # a shape of its own: JAX keeps the traces of the tests above, and asks nothing again
    xs = jnp.ones((6, 2, 3)) if xs is None else xs
    with pytest.raises(NotImplementedError) as error:
        jaxrnn.unroll(layer, params, xs, strategy=CuDNN(), **options)
    return str(error.value)


def test_what_it_cannot_run_is_refused_in_words(plugin):
    usual = "it runs LSTM with its usual activations only"
    for layer in (
        GRU(3, 4),
        LSTM(3, 4, coupled=True),
        LSTM(3, 4, clip=1.0),
        LSTM(3, 4, activation=jax.nn.relu),
        Stack((LSTM(3, 4), LSTM(4, 4, coupled=True))),
    ):
        assert usual in refusal(layer)
    resets = jnp.zeros((6, 2), bool)
    assert "resets are given" in refusal(LSTM(3, 4), resets=resets)
    half = jaxrnn.cast(LSTM(3, 4).init(jax.random.key(0)), jnp.bfloat16)
    said = refusal(LSTM(3, 4), half, jnp.ones((6, 2, 3), jnp.bfloat16))
    assert "float32 throughout" in said and "bfloat16" in said


def test_it_is_refused_inside_shard_map(plugin):
    params, xs, _ = case(LSTM(3, 4))
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    run = lambda p, x: jaxrnn.unroll(LSTM(3, 4), p, x, strategy=CuDNN())[1]
    rows = jax.P(None, "data")
    inside = jax.shard_map(run, mesh=mesh, in_specs=(jax.P(), rows), out_specs=rows)
    with pytest.raises(NotImplementedError, match=r"inside jax\.shard_map"):
        inside(params, xs)


def test_without_the_plugin_it_says_what_to_install():
    if hasattr(rnn.gpu_rnn, "compute_rnn_workspace_reserve_space_sizes"):
        pytest.fail("this test needs JAX without its plugin for CUDA")
    assert 'pip install "jax[cuda13]"' in refusal(LSTM(3, 4))


def test_what_is_explained(plugin):
    explain = partial(jaxrnn.explain, strategy=CuDNN(), platform="gpu")
    said = str(explain(Stack((LSTM(3, 4), LSTM(4, 4), Dense(4, 2))), (7, 3, 3)))
    assert "2 layers of LSTM(input_size=3, hidden_size=4) over T=7, B=3" in said
    assert "CuDNN(): lowered for CUDA in tests, never run" in said
    assert "both directions of LSTM" in str(
        explain(Bidirectional(LSTM(3, 4)), (7, 3, 3))
    )
    with pytest.raises(NotImplementedError, match="for CUDA, and this is cpu"):
        jaxrnn.explain(LSTM(3, 4), (7, 3, 3), strategy=CuDNN(), platform="cpu")


def test_it_is_given_to_unroll_alone():
    assert CuDNN() not in jaxrnn.Auto().candidates
    for nest in (lambda s: jaxrnn.Auto((s,)), lambda s: jaxrnn.Checkpointed(4, s)):
        with pytest.raises(ValueError, match=r"Give CuDNN\(\) to unroll itself"):
            nest(CuDNN())
