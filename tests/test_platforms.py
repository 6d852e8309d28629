"""The platform that a program is lowered for decides what runs, not the host."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax import export

import jaxrnn
from jaxrnn import (
    GRU,
    LSTM,
    MGU,
    MLSTM,
    RGLRU,
    Bidirectional,
    Checkpointed,
    Elman,
    Fused,
    Hoisted,
    IndRNN,
    LearnedState,
    Scan,
    Stack,
    testing,
)
from jaxrnn.strategies import on_platform

from .helpers import each


MODEL = Stack((LSTM(3, 4), Bidirectional(GRU(4, 4)), MGU(8, 4)))
KERNEL = "@jaxrnn_"  # the name of a call of a C++ kernel


def case(layer, time=6, batch=2):
    params = layer.init(jax.random.key(0))
    return params, jax.random.normal(jax.random.key(1), (time, batch, 3))


def loss_of(layer, strategy=None):
    """A sum over all outputs."""
    how = {} if strategy is None else {"strategy": strategy}
    return lambda params, xs: jnp.sum(jaxrnn.unroll(layer, params, xs, **how)[1] ** 2)


def lowered(fn, args, *platforms):
    return jax.jit(fn).trace(*args).lower(lowering_platforms=platforms).as_text()


@each("layer", [MODEL, Elman(3, 4), IndRNN(3, 4), LearnedState(GRU(3, 4))])
def test_kernels_are_called_on_a_cpu_alone(layer):
    """In the value, in gradients and under vmap, all traced on this host."""
    args, loss = case(layer), loss_of(layer)
    many = lambda params, xs: jax.vmap(loss, (None, 0))(params, jnp.stack([xs, xs]))
    for fn in (loss, jax.grad(loss, (0, 1)), many):
        assert KERNEL in lowered(fn, args, "cpu")
        for platform in ("cuda", "tpu"):
            assert KERNEL not in lowered(fn, args, platform)


@each("strategy", [Checkpointed(3, jaxrnn.Auto()), jaxrnn.Wavefront(jaxrnn.Auto())])
def test_a_default_inside_another_strategy_decides_by_platform(strategy):
    args, loss = case(LSTM(3, 4)), loss_of(LSTM(3, 4), strategy)
    assert KERNEL in lowered(jax.grad(loss), args, "cpu")
    assert KERNEL not in lowered(jax.grad(loss), args, "tpu")


def test_one_program_for_several_platforms():
    args, loss = case(LSTM(3, 4)), loss_of(LSTM(3, 4))
    text = lowered(jax.grad(loss), args, "cpu", "tpu")
    assert KERNEL in text and "while" in text


def test_a_kernel_by_name_is_refused_in_words_for_another_platform():
    args, loss = case(LSTM(3, 4)), loss_of(LSTM(3, 4), Fused())
    for fn in (loss, jax.grad(loss)):
        with pytest.raises(NotImplementedError, match=r"lowered for tpu.*Auto"):
            lowered(fn, args, "tpu")


def test_what_is_explained_follows_the_platform():
    def chosen(**options):
        (decision,) = jaxrnn.explain(LSTM(3, 4), (6, 2, 3), **options).decisions
        return decision.choice.strategy, decision.platform

    assert chosen() == (Fused(), "cpu")
    assert chosen(platform="cpu") == (Fused(), "cpu")
    assert chosen(platform="tpu") == (Hoisted(), "tpu")
    with jax.default_device(jax.devices("cpu")[0]):
        assert chosen() == (Fused(), "cpu")


PRECISE = [
    (LSTM(3, 4), Scan()),
    (GRU(3, 4, reset_after=False), Hoisted()),
    (LSTM(3, 4), Fused()),
    (jaxrnn.GatedDeltaNet(3, 4), jaxrnn.Chunked()),
    (GRU(3, 4), jaxrnn.Newton()),
]


@each("layer, strategy", PRECISE)
def test_the_precision_that_is_asked_for_reaches_every_matmul(layer, strategy):
    """Also in backward passes and kernels: a TPU rounds float32 to bfloat16 by default."""
    args, loss = case(layer), loss_of(layer, strategy)
    with on_platform("tpu"), jax.default_matmul_precision("highest"):
        text = str(jax.make_jaxpr(jax.grad(loss))(*args))
    assert text.count("dot_general[") == text.count("HIGHEST") // 2 > 0
    assert "precision=None" not in text


PLATFORMS = [("cpu",), ("cuda",), ("tpu",), ("cpu", "cuda", "tpu")]


def exported(fn, args, platforms):
    return export.export(jax.jit(fn), platforms=platforms)(*args)


@each("layer", [MODEL, RGLRU(3), MLSTM(3, 4)])
def test_exported_programs_hold_no_kernel_and_take_every_size(layer):
    """Under the default strategy, with symbolic B and T; the gradient with concrete ones."""
    params, xs = case(layer)
    run = lambda params, xs: jaxrnn.unroll(layer, params, xs)
    loss = loss_of(layer)
    time, batch = export.symbolic_shape("t, b")
    symbols = jax.ShapeDtypeStruct((time, batch, 3), jnp.float32)
    for platforms in PLATFORMS:
        program = exported(run, (params, symbols), platforms)
        gradient = exported(jax.grad(loss), (params, xs), platforms)
        assert KERNEL not in program.mlir_module() + gradient.mlir_module()
        if "cpu" not in platforms:
            continue
        want = run(params, xs), jax.grad(loss)(params, xs)
        got = program.call(params, xs), gradient.call(params, xs)
        testing.assert_close("export", str(platforms), got, want, 1e-5)


def test_a_schedule_that_needs_numbers_says_so():
    params, _ = case(LSTM(3, 4))
    time, batch = export.symbolic_shape("t, b")
    for shape in ((time, 2, 3), (6, batch, 3)):
        xs = jax.ShapeDtypeStruct(shape, jnp.float32)
        exported(loss_of(LSTM(3, 4), Scan()), (params, xs), ("cpu",))
        for strategy in (Hoisted(), Fused(), Checkpointed(), jaxrnn.Wavefront()):
            with pytest.raises(NotImplementedError, match=r"symbol here.*Scan\(\)"):
                exported(loss_of(LSTM(3, 4), strategy), (params, xs), ("cpu",))


CALLER = """
import sys
sys.modules["jaxrnn"] = None  # as where it is not installed
import jax, jax.export, numpy as np
program = jax.export.deserialize(bytearray(open("program", "rb").read()))
xs = np.load("xs.npy")
np.save("ys.npy", program.call(xs))
"""


def test_an_exported_file_runs_in_another_process_without_jaxrnn(tmp_path):
    params, xs = case(MODEL)
    run = lambda xs: jaxrnn.unroll(MODEL, params, xs)[1]
    (batch,) = export.symbolic_shape("b")
    symbols = jax.ShapeDtypeStruct((6, batch, 3), jnp.float32)
    program = exported(run, (symbols,), ("cpu", "cuda", "tpu"))
    (tmp_path / "program").write_bytes(program.serialize())
    jnp.save(tmp_path / "xs.npy", xs)
    command = [sys.executable, "-c", CALLER]
    subprocess.run(command, cwd=tmp_path, check=True)
    testing.assert_close("export", "file", jnp.load(tmp_path / "ys.npy"), run(xs), 1e-5)


@each("dtype", [jnp.bool, jnp.uint8, jnp.int32])
@each("cell", [LSTM(3, 4), GRU(3, 4), Stack((IndRNN(3, 4), Elman(4, 4)))])
def test_integers_and_booleans_mean_the_same_numbers(cell, dtype):
    """For the kernels, which once read them as floats."""
    params, xs = case(cell, 50, 4)
    whole = (xs > 0).astype(dtype)
    lengths = jnp.array([50, 0, 3, 9])
    with jax.numpy_dtype_promotion("standard"):
        got = jaxrnn.unroll(cell, params, whole, lengths=lengths)
        text = lowered(loss_of(cell), (params, whole), "cpu")
    want = jaxrnn.unroll(
        cell, params, whole.astype(jnp.float32), lengths=lengths, strategy=Scan()
    )
    assert KERNEL in text
    testing.assert_close("dtypes", str(dtype), got, want, 1e-6)
