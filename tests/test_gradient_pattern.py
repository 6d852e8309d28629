"""Where the derivatives of a step are not zero: of branches that no probe takes, too."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.gradients._pattern import structure_of


H = 4


class Params(NamedTuple):
    u: jax.Array
    table: jax.Array


@dataclass(frozen=True)
class Chosen(jaxrnn.Cell):
    """A cell with a branch that is taken far from zero only."""

    kind: str

    def init(self, key):
        return Params(*jax.random.normal(key, (2, H, H)))

    def initial_state(self, params):
        return jnp.zeros(H)

    def project(self, params, x):
        return params.table[x] if self.kind == "symbols" else x

    def recur(self, params, state, z):
        moved = state @ params.u
        if self.kind == "where":
            return jnp.where(z > 100, moved, z)
        if self.kind == "cond":
            return jax.lax.cond(z[0] > 100, lambda: moved, lambda: z)
        if self.kind == "maximum":
            return jnp.maximum(moved - 100, z)
        if self.kind == "max":
            return jnp.stack([moved - 100, z]).max(axis=0)
        if self.kind == "relu":
            return jax.nn.relu(moved - 100)
        if self.kind == "mask":  # a constant: never taken
            return jnp.where(np.eye(H, dtype=bool), params.u, 0) @ state + z
        return jnp.tanh(moved + z)


@pytest.mark.parametrize("kind", ["where", "cond", "maximum", "max", "relu", "mask"])
def test_a_branch_that_is_seldom_taken_counts(kind):
    cell = Chosen(kind)
    found = structure_of(cell, cell.init(jax.random.key(0)), jnp.ones(H))
    own = np.eye(H, dtype=bool)
    diagonal = kind == "mask"
    assert (found.state == (own if diagonal else np.ones((H, H), bool))).all()
    # u[i, j] is the weight from unit i to unit j
    by_u = own[:, :, None] & own[:, None, :] if diagonal else own[:, None, :]
    want = np.broadcast_to(by_u, (H, H, H)).reshape(H, H * H)
    assert (found.params[0] == want).all()


def test_every_symbol_counts():
    cell = Chosen("symbols")
    params = cell.init(jax.random.key(0))
    xs, targets = jnp.array([[1], [3], [2], [3]]), jnp.ones((4, 1, H))
    loss = lambda y, target: jnp.sum((y - target) ** 3)
    exact, rtrl, snap = (
        jaxrnn.value_and_grad(cell, loss, params, xs, targets, method=method)[1]
        for method in (jaxrnn.BPTT(), jaxrnn.RTRL(), jaxrnn.SnAp(3))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), rtrl, exact)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), snap, exact)
