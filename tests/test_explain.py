"""`explain` never lies: what it says is compared with what ran."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest

import jaxrnn
from jaxrnn import GRU, LSTM, Bidirectional, Dense, Stack
from jaxrnn.strategies import _base


@dataclass(frozen=True)
class Refuses(jaxrnn.Strategy):
    """Serves no GRU."""

    def check(self, cell, params, state, xs):
        if isinstance(cell, GRU):
            raise NotImplementedError(f"Refuses() has no kernel for {cell}.")

    def run(self, cell, params, state, zs):
        return jaxrnn.Scan().run(cell, params, state, zs)


MODEL = Stack((LSTM(3, 4), Bidirectional(GRU(4, 5)), Dense(10, 2)))


@pytest.mark.parametrize(
    "strategy",
    [
        jaxrnn.Auto(),
        jaxrnn.Scan(),
        jaxrnn.Hoisted(),
        jaxrnn.Wavefront(),
        jaxrnn.Checkpointed(3),
        jaxrnn.Auto((Refuses(), jaxrnn.Checkpointed(2))),
    ],
    ids=str,
)
def test_what_is_explained_is_what_runs(strategy, monkeypatch):
    said = jaxrnn.explain(MODEL, (6, 2, 3), strategy=strategy)
    ran, inside = [], []
    kinds = (jaxrnn.Fused, jaxrnn.Hoisted, jaxrnn.Scan, jaxrnn.Checkpointed, Refuses)
    for kind in kinds:

        def unroll(self, cell, *args, original=kind.unroll):
            # what a strategy calls in turn is its own affair, and another platform's
            # branch is traced as well
            if not inside and _base.platform() in (None, "cpu"):
                ran.append((_base.unmasked(cell), self))
            inside.append(self)
            result = original(self, cell, *args)
            inside.pop()
            return result

        monkeypatch.setattr(kind, "unroll", unroll)
    jax.clear_caches()
    params = MODEL.init(jax.random.key(0))
    jaxrnn.unroll(MODEL, params, jnp.ones((6, 2, 3)), strategy=strategy)
    assert ran == [(d.cell, d.choice.strategy) for d in said.decisions]
    assert len(ran) == (2 if isinstance(strategy, jaxrnn.Wavefront) else 3)


def test_refusals_are_quoted():
    strategy = jaxrnn.Auto((Refuses(), jaxrnn.Scan()))
    text = str(jaxrnn.explain(MODEL, (6, 2, 3), strategy=strategy))
    assert text.count("runs          Refuses()") == 1
    assert text.count("Refuses() has no kernel for GRU(input_size=4") == 2


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
