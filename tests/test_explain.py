"""`explain` is right: it names the strategy whose program is lowered."""

import pickle
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest

import jaxrnn
from jaxrnn import GRU, LSTM, Bidirectional, Dense, Stack

from .helpers import Decay, each


@dataclass(frozen=True)
class Refuses(jaxrnn.Strategy):
    """A strategy that refuses every GRU."""

    def check(self, cell, params, state, xs):
        if isinstance(cell, GRU):
            raise NotImplementedError("this is a GRU")

    def run(self, cell, params, state, zs):
        return jaxrnn.Scan().run(cell, params, state, zs)


MODEL = Stack((LSTM(3, 4), Bidirectional(GRU(4, 5)), Dense(10, 2)))

STRATEGIES = [
    jaxrnn.Auto(),
    jaxrnn.Fused(),
    jaxrnn.Hoisted(),
    jaxrnn.Scan(),
    jaxrnn.Chunked(4),
    jaxrnn.Auto((jaxrnn.Fused(), jaxrnn.Scan())),
    jaxrnn.Checkpointed(4, jaxrnn.Auto()),
    jaxrnn.Checkpointed(4, jaxrnn.Fused()),
    jaxrnn.Wavefront(jaxrnn.Auto()),
    jaxrnn.Auto((Refuses(), jaxrnn.Checkpointed(2, jaxrnn.Auto()))),
]

SIZES = [(1, 4), (5, 1), (9, 2)]

LAYERS = [
    LSTM(3, 5),
    jaxrnn.MinGRU(3, 5),
    jaxrnn.LayerNormGRU(3, 5),
    jaxrnn.IndRNN(3, 5),
    jaxrnn.GLA(3, 4),
    Decay(3),
    jaxrnn.LearnedState(LSTM(3, 5)),
    jaxrnn.Zoneout(GRU(3, 5), 0.1),
    Stack((LSTM(3, 3), LSTM(3, 3))),
]


def calls_a_kernel(layer, size, strategy):
    """Whether the program that is lowered for a CPU calls a kernel."""
    params = jax.eval_shape(lambda: layer.init(jax.random.key(0)))
    xs = jax.ShapeDtypeStruct((*size, 3), jnp.float32)
    run = jax.jit(lambda p, xs: jaxrnn.unroll(layer, p, xs, strategy=strategy))
    text = run.trace(params, xs).lower(lowering_platforms=("cpu",)).as_text()
    return "@jaxrnn_" in text


@each("layer", LAYERS, LAYERS[:2])
def test_explain_names_what_is_lowered(layer):
    for i, strategy in enumerate(STRATEGIES):
        for size in (SIZES[i % 3], SIZES[(i + 1) % 3]):
            try:
                said = jaxrnn.explain(layer, (*size, 3), strategy=strategy)
            except NotImplementedError as refusal:
                with pytest.raises(NotImplementedError) as caught:
                    calls_a_kernel(layer, size, strategy)
                assert str(caught.value) == str(refusal)
                continue
            runs = [decision.choice.innermost for decision in said.decisions]
            kernel = any(isinstance(found, jaxrnn.Fused) for found in runs)
            assert kernel == calls_a_kernel(layer, size, strategy), f"{size}\n{said}"


def test_a_wavefront_runs_one_loop_or_is_refused():
    stack = Stack((GRU(3, 3),) * 3)
    said = jaxrnn.explain(stack, (6, 2, 3), strategy=jaxrnn.Wavefront(jaxrnn.Scan()))
    assert len(said.decisions) == 1 and "wavefront of 3" in str(said)
    inside = jaxrnn.Wavefront(jaxrnn.Checkpointed(4))
    assert len(jaxrnn.explain(stack, (6, 2, 3), strategy=inside).decisions) == 1
    for outside in (
        lambda: jaxrnn.Auto((jaxrnn.Wavefront(), jaxrnn.Scan())),
        lambda: jaxrnn.Checkpointed(4, jaxrnn.Wavefront()),
        lambda: jaxrnn.Wavefront(jaxrnn.Wavefront()),
    ):
        with pytest.raises(ValueError, match=r"several layers in one loop.*inner="):
            outside()


def test_layers_are_shown_as_they_were_written():
    layer = jaxrnn.Zoneout(LSTM(3, 4), 0.1)
    assert str(jaxrnn.explain(layer, (6, 2, 3))).startswith(f"{layer} over T=6, B=2")
    for wrapped in (
        jaxrnn.LearnedState(jaxrnn.MinGRU(3, 4)),
        jaxrnn.AllStates(GRU(3, 4)),
    ):
        shown = str(jaxrnn.explain(wrapped, (6, 2, 3)))
        assert shown.startswith(f"{wrapped} over") and not shown.startswith("Linear")


def test_reasons_are_given_without_repeating_the_subject():
    strategy = jaxrnn.Auto((Refuses(), jaxrnn.Fused(), jaxrnn.Scan()))
    text = str(jaxrnn.explain(MODEL, (1, 2, 3), strategy=strategy))
    assert text.count("runs          Refuses()\n") == 1
    assert text.count("passed over   Refuses(): this is a GRU\n") == 2
    assert text.count("passed over   Fused(): with T B of 4 or fewer") == 2
    assert text.count("runs          Scan()\n") == 2


def test_a_shorter_last_chunk_is_named_if_it_runs_otherwise():
    said = jaxrnn.explain(LSTM(3, 4), (9, 2, 3), strategy=jaxrnn.Checkpointed(4))
    assert "each by Hoisted(), and a last chunk of 1 by Hoisted()" in str(said)
    auto = jaxrnn.Checkpointed(4, jaxrnn.Auto())
    said = jaxrnn.explain(LSTM(3, 4), (9, 2, 3), strategy=auto)
    assert "each by Fused(), and a last chunk of 1 by Hoisted()" in str(said)
    assert "last" not in str(jaxrnn.explain(LSTM(3, 4), (8, 2, 3), strategy=auto))


def test_a_refusal_survives_pickling():
    with pytest.raises(NotImplementedError) as caught:
        jaxrnn.explain(GRU(3, 4), (6, 2, 3), strategy=jaxrnn.Chunked())
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value) and "cannot run GRU" in str(copy)


def test_explaining_works_while_tracing_and_computes_nothing():
    @jax.jit
    def inside(x):
        assert len(jaxrnn.explain(MODEL, (6, 2, 3)).decisions) == 3
        return x

    inside(jnp.ones(3))
    huge = jaxrnn.explain(LSTM(10**5, 10**5), (10**6, 10**4, 10**5))
    assert huge.decisions[0].time == 10**6


def test_a_platform_can_be_asked_for():
    said = jaxrnn.explain(LSTM(3, 4), (6, 2, 3), platform="gpu")
    assert said.decisions[0].platform == "gpu" and "on gpu" in str(said)
    with pytest.raises(ValueError, match="platform is 'abacus'"):
        jaxrnn.explain(LSTM(3, 4), (6, 2, 3), platform="abacus")


def test_the_evidence_of_a_choice_is_said_where_it_is_not_a_measurement():
    said = lambda platform: str(jaxrnn.explain(GRU(3, 4), (6, 2, 3), platform=platform))
    assert "evidence" not in said("cpu")
    for platform in ("gpu", "tpu"):
        assert f"for {platform}, compiled and not run" in said(platform)
    by_name = jaxrnn.explain(
        GRU(3, 4), (6, 2, 3), strategy=jaxrnn.Scan(), platform="tpu"
    )
    assert "evidence" not in str(by_name)
