"""Kronecker-factored RTRL. Mujika, Meier, Steger 2018, arXiv:1805.10842."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._layer import Cell, Layer, stepping_by
from .._partition import Matmul, PartitionedStep, partition
from ._influence import ByState, RealStep
from ._local import Local, balance, norm
from ._pattern import Structure, structure_of
from ._split import Site, Step, to_real


class KFTrace(NamedTuple):
    """P of the i-th matmul's weight is estimated by the Kronecker product `u[i]` x `a[i]`.

    `rest` has the exact influence of all other values that are made of params, as biases.
    """

    u: list[jax.Array]
    a: list[jax.Array]
    rest: list[jax.Array]
    key: jax.Array


@dataclass(frozen=True)
class KFRTRL(Local):
    """Kronecker-factored RTRL: one random Kronecker product for each weight matrix.

        u_t = c_1 r_1 u_{t-1} + c_2 r_2 v_t,    A_t = c_1 J_t A_{t-1} / r_1 + c_2 D_t / r_2
        r_1 = sqrt(|J A| / |u|),                r_2 = sqrt(|D| / |v|)

    v is the vector that a weight matrix multiplies, D the derivative of the state by the
    result, and c_1, c_2 are random signs. The mean of u x A is P, so the gradient is
    unbiased while the parameters are constant, with less variance than `UORO`'s. Biases and
    other vectors keep their exact influence. `init` needs a `key`, and each sequence of a
    batch one of its own.

    It serves cells whose weights are matrices that multiply one vector each step, such as
    `LSTM`, `GRU`, `Elman` and `CTRNN`.

    Costs for k numbers in the state and g gates: k g numbers of memory for each matrix, and
    k^2 g multiplications a step.

    Reference: Mujika, Meier, Steger 2018, arXiv:1805.10842.
    """

    random: ClassVar[bool] = True

    def start_own(self, layer, params, x, key):
        if key is None:
            raise ValueError("KFRTRL draws random signs: give it a random key, key=.")
        structure = structure_of(layer, params, x)
        if structure.starts:
            raise NotImplementedError(
                f"KFRTRL needs an initial state that does not depend on the parameters, "
                f"and {layer} has another. RTRL() and UORO() serve it."
            )
        state = layer.initial_state(params)
        recorded = _Recorded(Step(layer, params, state, x, None), structure)
        flat = to_real(state)
        zeros = lambda *shape: jnp.zeros(shape, flat.dtype)
        return KFTrace(
            [zeros(operand.size) for operand in recorded.operands],
            [zeros(flat.size, result.size) for result in recorded.results],
            [zeros(flat.size, value.size) for value in recorded.rest],
            key,
        )

    def restart_own(self, layer, params, own, x):
        return self.start_own(layer, params, x, own.key)

    def follow_own(self, step, own):
        structure = structure_of(step.layer, step.params, step.x)
        every = np.arange(len(structure.state))
        jacobian = ByState(RealStep(step), structure.state).block(every)
        recorded = _Recorded(step, structure)
        by_result, by_rest = recorded.jacobians(len(every))
        key, now = jax.random.split(own.key)
        signs = jax.random.rademacher(now, (len(own.u), 2), jacobian.dtype)
        vectors = map(to_real, recorded.operands)
        made = [
            _mixed(u, jacobian @ a, v, d, c)
            for u, a, v, d, c in zip(
                own.u, own.a, vectors, by_result, signs, strict=True
            )
        ]
        rest = [jacobian @ p + i for p, i in zip(own.rest, by_rest, strict=True)]
        return KFTrace([u for u, _ in made], [a for _, a in made], rest, key)

    def credit_own(self, step, own, target, signal):
        structure = structure_of(step.layer, step.params, step.x)
        recorded = _Recorded(step, structure)
        by_weight = [
            jnp.outer(u, signal @ a) for u, a in zip(own.u, own.a, strict=True)
        ]
        return recorded.by_leaf(by_weight, [signal @ p for p in own.rest])


def _mixed(u: Any, ja: Any, v: Any, d: Any, signs: Any) -> tuple[Any, Any]:
    """The Kronecker product whose mean is `u x ja + v x d`."""
    r_1, r_2 = balance(norm(ja), norm(u)), balance(norm(d), norm(v))
    c_1, c_2 = signs
    return c_1 * r_1 * u + c_2 * r_2 * v, c_1 * ja / r_1 + c_2 * d / r_2


class _Nudges(NamedTuple):
    """The values added to the results of the matmuls, and to the other values, in order."""

    results: Iterator
    rest: Iterator


class _Recorded:
    """The matmuls of the cells in one step: operands, weights, and the other values."""

    def __init__(self, step: Step, structure: Structure):
        self._step, self._sites = step, structure.sites
        self.operands: list = []
        self.results: list = []
        self.rest: list = []
        self._parts: list[tuple[Site, PartitionedStep]] = []
        self._advance(None)

    def jacobians(self, size: int) -> tuple[list, list]:
        """d state by each matmul's result, and by each other value: `(k, size)` each."""
        zeros = [jnp.zeros_like(r) for r in self.results]
        nothing = [jnp.zeros_like(r) for r in self.rest]

        def moved(nudges: list, rest: list) -> Any:
            return to_real(self._advance(_Nudges(iter(nudges), iter(rest))))

        _, pull = jax.vjp(moved, zeros, nothing)
        flat = to_real(self._step.state)
        rows = jax.vmap(pull)(jnp.eye(size, dtype=flat.dtype))
        return jax.tree.map(lambda j: j.reshape(size, -1).astype(flat.dtype), rows)

    def by_leaf(self, by_weight: list, by_rest: list) -> dict[int, Any]:
        """The gradients by leaves of params, from those by weights and other values."""
        leaves = jax.tree.leaves(self._step.params)
        found: dict[int, Any] = {}
        weights, rest = iter(by_weight), iter(by_rest)
        for site, parts in self._parts:
            own = [leaves[i] for i in site.params]
            (w, r), pull = jax.vjp(parts.hoist, own)
            by_slot: dict[Any, Any] = dict.fromkeys(parts.weights)
            for matmul in parts.matmuls:
                now, before = next(weights), by_slot[matmul.weight]
                by_slot[matmul.weight] = now if before is None else before + now
            d_w = [
                by_slot[s].reshape(v.shape).astype(v.dtype)
                for s, v in zip(parts.weights, w, strict=True)
            ]
            d_r = [next(rest).reshape(v.shape).astype(v.dtype) for v in r]
            (grads,) = pull((d_w, d_r))
            found |= {i: to_real(g) for i, g in zip(site.params, grads, strict=True)}
        return found

    def _advance(self, nudges: "_Nudges | None") -> Any:
        """The new states; records what is read, or adds nudges to it."""
        step, found = self._step, iter(self._sites)

        def by(cell: Cell, params: Any, state: Any, x: Any) -> tuple[Any, Any]:
            whole = lambda params, state, x: cell.recur(
                params, state, cell.project(params, x)
            )
            parts = partition(whole, params, state, x)
            weights, values = parts.hoist(params)
            site = next(found)
            if nudges is None:
                _check(cell, step.layer, site, parts)
                self._parts.append((site, parts))
                self.rest += values
            else:
                values = [v + next(nudges.rest) for v in values]
            new = parts.step((weights, values), state, x, self._multiply(nudges))
            return new, cell.readout(params, new, cell.project(params, x))

        with stepping_by(by):
            return step.layer.step(step.params, step.state, step.x)[0]

    def _multiply(self, nudges: "_Nudges | None") -> Any:
        def multiply(i: int, matmul: Matmul, a: Any, w: Any) -> Any:
            result = matmul.of(a, w)
            if nudges is not None:
                return result + next(nudges.results)
            if a.ndim != 1 or w.ndim != 2 or result.ndim != 1:
                raise NotImplementedError(
                    f"KFRTRL needs weights that are matrices and multiply a vector, and "
                    f"{self._step.layer} multiplies {a.shape} by {w.shape}. RTRL() and "
                    "UORO() serve it."
                )
            self.operands.append(a)
            self.results.append(result)
            return result

        return multiply


def _check(cell: Cell, layer: Layer, site: Site, parts: PartitionedStep) -> None:
    if len(parts.params) != len(site.params):
        raise NotImplementedError(
            f"KFRTRL needs cells that are given leaves of the params themselves, and a "
            f"layer in {layer} changes those of {cell} first. RTRL() and UORO() serve it."
        )
