"""The matmuls that leave the loop under `Hoisted`, counted in the compiled program."""

import re
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest

import jaxrnn
from jaxrnn import GRU, LSTM, Elman, IndRNN, PeepholeLSTM, testing


TIME = 64
"""Longer than a block ahead, and one block backwards: the reverse loop alone has as many."""


def gradient(cell, strategy, *, mapped=False):
    """The lowered gradient of a loss, with respect to parameters and inputs."""
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0)))
    xs = jax.ShapeDtypeStruct((TIME, 4, cell.input_size), jnp.float32)

    def loss(params, xs):
        return jnp.sum(jaxrnn.unroll(cell, params, xs, strategy=strategy)[1] ** 2)

    grad = jax.grad(loss, argnums=(0, 1))
    if mapped:
        grow = lambda x: jax.ShapeDtypeStruct((3, *x.shape), x.dtype)
        params, xs = jax.tree.map(grow, (params, xs))
        grad = jax.vmap(grad)
    return jax.jit(grad).lower(params, xs).compile()


def dots_in_loops(text, trips):
    """The number of matmuls in each loop of `trips` iterations of a compiled module."""
    bodies = {}
    for line in text.splitlines():
        if found := re.match(r"(?:ENTRY )?%([\w.\-]+) .*{$", line):
            bodies[(name := found[1])] = []
        elif line.startswith("  "):
            bodies[name].append(line)

    def dots(name):
        count = 0
        for line in bodies[name]:
            count += " dot(" in line
            if " while(" not in line:
                called = re.findall(r"(?:calls|to_apply)=%([\w.\-]+)", line)
                count += sum(map(dots, called))
        return count

    loops = re.findall(rf'body=%([\w.\-]+).*known_trip_count":{{"n":"{trips}"', text)
    return [dots(body) for body in loops]


@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "mapped"])
@pytest.mark.parametrize(
    ("cell", "count"),
    [
        (LSTM(8, 16), 1),
        (GRU(8, 16), 1),
        (Elman(8, 16), 1),
        (GRU(8, 16, reset_after=False), 2),
    ],
    ids=str,
)
def test_one_product_a_weight_is_left_in_the_backward_loop(cell, count, mapped):
    text = gradient(cell, jaxrnn.Hoisted(), mapped=mapped).as_text()
    assert dots_in_loops(text, TIME) == [count]


def test_a_scan_has_more():
    text = gradient(LSTM(8, 16), jaxrnn.Scan()).as_text()
    assert sorted(dots_in_loops(text, TIME)) == [1, 2]


@pytest.mark.parametrize(
    ("cell", "units"), [(LSTM(8, 64), 2), (GRU(8, 64), 1)], ids=str
)
def test_states_alone_are_kept(cell, units):
    """Temporary memory in units of (T, B, H); one unit is the gradient of the outputs."""
    time, batch = 4096, 4
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0)))
    xs = jax.ShapeDtypeStruct((time, batch, 8), jnp.float32)

    def loss(params, xs):
        _, ys = jaxrnn.unroll(cell, params, xs, strategy=jaxrnn.Hoisted())
        return jnp.sum(ys**2)

    compiled = jax.jit(jax.grad(loss)).lower(params, xs).compile()
    unit = time * batch * cell.hidden_size * 4
    assert compiled.memory_analysis().temp_size_in_bytes < (units + 1) * 1.2 * unit


def test_long_sequences_fit():
    """T = 10,000, B = 16, H = 256, from the compiler's estimate of memory; nothing runs."""
    time, batch, cell = 10_000, 16, LSTM(64, 256)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0)))
    xs = jax.ShapeDtypeStruct((time, batch, 64), jnp.float32)

    def needed(strategy):
        def loss(params, xs):
            return jnp.sum(jaxrnn.unroll(cell, params, xs, strategy=strategy)[1] ** 2)

        compiled = jax.jit(jax.grad(loss)).lower(params, xs).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    unit = time * batch * 256 * 4
    projected = 4 * unit
    assert needed(jaxrnn.Hoisted()) < 1.2 * 2 * unit + projected
    assert needed(jaxrnn.Checkpointed()) < needed(jaxrnn.Scan()) / 6


@dataclass(frozen=True)
class Square(jaxrnn.Cell):
    """A matmul of two values that depend on the state: h' = tanh(h h^T x + z)."""

    input_size: int

    def init(self, key):
        return 0.1 * jax.random.normal(key, (self.input_size, self.input_size))

    def initial_state(self, params):
        return jnp.ones(self.input_size)

    def project(self, params, x):
        return x @ params

    def recur(self, params, state, z):
        return jnp.tanh(jnp.outer(state, state) @ z + params[0] * state)


@dataclass(frozen=True)
class Counting(jaxrnn.Cell):
    """A cell with an integer in its state, a branch, a loop, and a shared weight."""

    input_size: int

    def init(self, key):
        return 0.3 * jax.random.normal(key, (self.input_size, self.input_size))

    def initial_state(self, params):
        return jnp.zeros(self.input_size), jnp.int32(0)

    def recur(self, params, state, z):
        h, count = state
        h = jax.lax.fori_loop(0, 2, lambda i, h: jnp.tanh(h @ params + z), h)
        h = jax.lax.cond(count % 2 == 0, lambda h: h, lambda h: h @ params.T, h)
        return jnp.tanh(h @ params) @ params + params[0], count + 1

    def readout(self, params, state, z):
        return state[0] @ params + z


STRATEGIES = [jaxrnn.Hoisted(3), jaxrnn.Hoisted(4, recompute=False)]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_a_cell_with_nothing_to_cut_runs_all_the_same(strategy):
    testing.check_strategy(strategy, Square(3), time=7, batch=2)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_integers_branches_loops_and_shared_weights(strategy, x64):
    cell, xs = Counting(3), jax.random.normal(jax.random.key(1), (7, 2, 3))
    params = cell.init(jax.random.key(0))

    def found(strategy):
        def loss(params, xs):
            state, ys = jaxrnn.unroll(cell, params, xs, strategy=strategy)
            return jnp.sum(ys**2) + jnp.sum(state[0]), (state, ys)

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, xs)

    want = found(jaxrnn.Scan())
    testing.assert_close("Law S", str(strategy), found(strategy), want, 1e-9)


def test_explain_says_what_is_cut():
    how = lambda cell: (
        jaxrnn.explain(cell, (5, 2, 3), strategy=jaxrnn.Hoisted()).decisions[0].how
    )
    assert how(PeepholeLSTM(3, 4)) == "1 matmul with parameters leaves the loop"
    assert how(Counting(3)) == "2 matmuls with parameters leave the loop"
    assert "whole step stays in the loop" in how(Square(3))
    auto = jaxrnn.Auto((jaxrnn.Hoisted(), jaxrnn.Scan()))
    said = str(jaxrnn.explain(IndRNN(3, 4), (5, 2, 3), strategy=auto))
    assert "has no matmul to hoist" in said and "runs          Scan()" in said
    # three gates for each number of its state, which a block at a time keeps in cache
    said = str(jaxrnn.explain(jaxrnn.ParaGRU(3, 4), (5, 2, 3)))
    assert "runs          Hoisted()" in said


def test_a_wrong_block_is_refused():
    with pytest.raises(ValueError, match=r"block=0.*at least 1"):
        jaxrnn.Hoisted(block=0)
