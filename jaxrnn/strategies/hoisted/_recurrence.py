"""A recurrence over blocks of time, with a backward pass of its own, from a cut step.

Forward runs the blocks in order and keeps states; backward runs them in reverse. Within a
block, what is parallel in time is done for all its steps at once, in a cache.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..._autodiff._op import DifferentiableOp, call
from ..._layer import over_time_and_batch
from ..._sharding import aligned
from ._blocks import Split, over_blocks, split
from ._outputs import StateOutputs
from ._partition import Multiply, PartitionedStep, Product, at_least_float32


class GradientSums(NamedTuple):
    """Gradients that are added up over blocks, in float32 at least."""

    params: list[jax.Array]
    weights: list[jax.Array]
    rest: list[jax.Array]


@dataclass(frozen=True, eq=False)
class Recurrence(DifferentiableOp):
    """One recurrence, in blocks.

    Attributes:
        project, readout: of one example and one step.
        step: `recur` of a batch, cut at its products.
        forward_block: how many steps are one block, forwards.
        block: how many steps are one block, backwards.
        recompute: whether backward computes the products again, rather than keeping them.
        shapes: arrays in the shapes of params, what is hoisted, the state, and the inputs.
        state_outputs: for each output, which leaf of the state it is; None if any is not one.
    """

    project: Callable
    readout: Callable
    step: PartitionedStep
    forward_block: int
    block: int
    recompute: bool
    state_outputs: StateOutputs | None
    shapes: Any = None

    def __call__(self, params: Any, state: Any, xs: Any) -> tuple[Any, Any]:
        """`(state, ys)`."""
        given = (params, self.step.hoist(params), state, xs)
        shape = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype)
        kernel = dataclasses.replace(self, shapes=jax.tree.map(shape, given))
        return call(kernel, *split(given))

    def reference(self, operands, nondiff):
        params, hoisted, state, xs = Split(operands, nondiff).joined(self.shapes)
        zs = over_time_and_batch(self.project, params, xs)

        def body(state, z):
            state = self.step.step(hoisted, state, z)
            return state, state

        state, states = lax.scan(body, state, zs)
        return state, over_time_and_batch(self.readout, params, states, zs)

    def value(self, operands, nondiff):
        return self.forward(operands, nondiff)[0]

    def forward(self, operands, nondiff):
        params, hoisted, state, xs = Split(operands, nondiff).joined(self.shapes)

        def steps(state, xs):
            zs = over_time_and_batch(self.project, params, xs)
            after, (states, products) = self._run_steps(hoisted, state, zs)
            if self.state_outputs is not None:
                return after, (states, products, None)
            ys = over_time_and_batch(self.readout, params, states, zs)
            return after, (states, products, ys)

        after, (states, products, ys) = over_blocks(
            steps, state, xs, self.forward_block
        )
        ys = ys if self.state_outputs is None else self.state_outputs.outputs(states)
        return (after, ys), (states, products)

    def backward(self, operands, nondiff, saved, grads, wanted):
        del wanted  # XLA leaves out what nobody reads
        params, hoisted, state, xs = Split(operands, nondiff).joined(self.shapes)
        states, products = saved
        d_state, d_ys = map(_with_gradient, grads)

        def steps(carry, block, first):
            return self._reverse_steps(params, hoisted, carry, first, *block)

        # the state before the first step of each block
        firsts = jax.tree.map(
            lambda s, after: jnp.concatenate(
                [s[None], after[self.block - 1 :: self.block]]
            ),
            state,
            states,
        )
        (d_state, sums), d_xs = over_blocks(
            steps,
            aligned((d_state, _no_sums(params, hoisted)), xs),
            (xs, states, products, d_ys),
            self.block,
            firsts,
            reverse=True,
        )
        found = [*sums.params, *sums.weights, *sums.rest, *d_state, *d_xs]
        return [d.astype(o.dtype) for d, o in zip(found, operands, strict=True)]

    def _run_steps(self, hoisted, state, zs):
        def body(state, z):
            products: list[jax.Array] = []
            after = self.step.step(hoisted, state, z, _recording([], products))
            return after, (after, () if self.recompute else tuple(products))

        # XLA:CPU fuses a slice whose place it does not know into what is element-wise,
        # which then is not vectorised: without a loop, all places are known
        return lax.scan(body, state, zs, unroll=True)

    def _reverse_steps(self, params, hoisted, carry, first, xs, states, products, d_ys):
        d_state, sums = carry
        zs, pull_project = self._projected(params, xs)
        before = jax.tree.map(
            lambda s, after: jnp.concatenate([s[None], after[:-1]]), first, states
        )
        operands, products = self._recompute_products(hoisted, before, zs, products)
        d_states, d_params, d_zs = self._reverse_readout(params, states, zs, d_ys)
        d_state, found = self._reverse_loop(
            hoisted, d_state, before, zs, products, d_states
        )
        added = lambda a, b: b if a is None else jax.tree.map(jnp.add, a, b)
        more, d_xs = pull_project(added(d_zs, found.zs))
        d_params = added(d_params, split(more).inexact)
        d_rest = self._rest_gradient(hoisted, before, zs, products, found.states)
        d_weights = [jnp.zeros_like(s) for s in sums.weights]
        for product, a, dy in zip(
            self.step.products, operands, found.products, strict=True
        ):
            i = self.step.weights.index(product.weight)
            d_weights[i] += product.weight_gradient(a, dy)
        total = jax.tree.map(
            lambda s, d: s + d.astype(s.dtype),
            sums,
            GradientSums(d_params, d_weights, d_rest),
        )
        return (d_state, total), d_xs

    def _projected(self, params, xs):
        """What a block projects, and how gradients of it reach params and inputs."""
        apart = split(xs)

        def project(params, inexact):
            zs = over_time_and_batch(
                self.project, params, Split(inexact, apart.exact).joined(xs)
            )
            return split(zs).inexact, zs

        _, pull, zs = jax.vjp(project, params, apart.inexact, has_aux=True)
        return zs, pull

    def _recompute_products(self, hoisted, before, zs, kept):
        """Operands and results of every product of a block, for all its steps at once."""

        def step(state, z, kept):
            operands: list[jax.Array] = []
            products: list[jax.Array] = []
            recorded = _recording(operands, products, kept)
            self.step.step(hoisted, state, z, recorded)
            return operands, products

        return jax.vmap(step)(before, zs, kept)

    def _reverse_readout(self, params, states, zs, d_ys):
        """Gradients of states, None where an output has none, of params and of zs."""
        if self.state_outputs is not None:
            return self.state_outputs.gradients(states, d_ys), None, None
        apart = [split(states), split(zs)]

        def readout(params, *inexact):
            s, z = (
                Split(i, a.exact).joined(like)
                for i, a, like in zip(inexact, apart, (states, zs), strict=True)
            )
            return split(over_time_and_batch(self.readout, params, s, z)).inexact

        _, pull = jax.vjp(readout, params, *(a.inexact for a in apart))
        d_params, d_states, d_zs = pull(d_ys)
        return d_states, split(d_params).inexact, d_zs

    def _reverse_loop(self, hoisted, d_state, before, zs, products, d_states):
        """The loop that is left: gradients of each step from the one after it."""
        weights = dict(zip(self.step.weights, hoisted[0], strict=True))
        places: list[int] = []

        def body(d_after, step):
            pull, d_own = step
            total = [
                d if own is None else d + own
                for d, own in zip(d_after, d_own, strict=True)
            ]
            zeros = [jnp.zeros(a.shape, a.dtype) for a in likes]
            d_operands = aligned(zeros, total)
            # the last product first: it may lie behind the others
            for i, product in reversed(list(enumerate(self.step.products))):
                dy = pull((d_operands, total))[2][i]
                w = weights[product.weight]
                d_operands[i] = product.operand_gradient(likes[i], w, dy)
            d_before, d_z, d_products = pull((d_operands, total))
            found = [*(total if hoisted[1] else []), *d_z, *d_products]
            # often dz = dy: one is enough
            unique = {id(d): d for d in found}
            places[:] = [list(unique).index(id(d)) for d in found]
            return d_before, list(unique.values())

        pulls, likes = self._linearized(hoisted, before, zs, products)
        d_state, unique = lax.scan(body, d_state, (pulls, d_states), reverse=True)
        found = [unique[i] for i in places]
        count = len(d_state) if hoisted[1] else 0
        end = len(found) - len(self.step.products)
        return d_state, _StepGradients(found[:count], found[count:end], found[end:])

    def _linearized(self, hoisted, before, zs, products):
        """Each step of a block as a linear map, made for all of them at once.

        The maps lead from gradients of what the products take, and of the state after the
        step, to those of the state before it, of z, and of what the products give. All is
        element-wise: no map holds a weight.
        """
        shapes: list[jax.ShapeDtypeStruct] = []

        def linearize(state, z, products):
            apart = split(state), split(z)

            def step(state_leaves, z_leaves, products):
                operands: list[jax.Array] = []
                after = self.step.step(
                    hoisted,
                    Split(state_leaves, apart[0].exact).joined(state),
                    Split(z_leaves, apart[1].exact).joined(z),
                    _recording(operands, [], products),
                )
                shapes[:] = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in operands]
                return operands, split(after).inexact

            return jax.vjp(step, apart[0].inexact, apart[1].inexact, list(products))[1]

        return jax.vmap(linearize)(before, zs, products), shapes

    def _rest_gradient(self, hoisted, before, zs, products, d_states):
        """The gradient of parameters that are used element-wise."""
        weights, rest = hoisted
        apart = split(rest)
        if not apart.inexact:
            return []

        def steps(inexact):
            def step(state, z, products):
                known = _fixed_products(products, [jnp.zeros_like(y) for y in products])
                inside = (weights, Split(inexact, apart.exact).joined(rest))
                return split(self.step.step(inside, state, z, known)).inexact

            return jax.vmap(step)(before, zs, products)

        return jax.vjp(steps, apart.inexact)[1](d_states)[0]


class _StepGradients(NamedTuple):
    """Gradients that the reverse loop of a block gives, for each of its steps."""

    states: list[jax.Array]
    zs: list[jax.Array]
    products: list[jax.Array]


def _recording(
    operands: list, products: list, kept: Sequence[jax.Array] = ()
) -> Multiply:
    """Products, which are noted; those that were kept are not computed again."""

    def multiply(i: int, product: Product, a: jax.Array, w: jax.Array) -> jax.Array:
        operands.append(a)
        products.append(kept[i] if kept else product.of(a, w))
        return products[-1]

    return multiply


def _fixed_products(
    products: Sequence[jax.Array], taps: Sequence[jax.Array]
) -> Multiply:
    """Products whose results are known already; the gradient of a tap is the result's."""

    def multiply(i: int, product: Product, a: jax.Array, w: jax.Array) -> jax.Array:
        like = jax.ShapeDtypeStruct(a.shape, a.dtype)

        @jax.custom_vjp
        def known(a, w, y, tap):
            return y

        def backward(w, dy):
            return product.operand_gradient(like, w, dy), None, None, dy

        known.defvjp(lambda a, w, y, tap: (y, w), backward)
        return known(a, w, products[i], taps[i])

    return multiply


def _no_sums(params: Any, hoisted: tuple[list, list]) -> GradientSums:
    def zeros(tree):
        return [
            jnp.zeros(p.shape, at_least_float32(p.dtype)) for p in split(tree).inexact
        ]

    return GradientSums(zeros(params), *map(zeros, hoisted))


def _with_gradient(cotangents: Any) -> list[jax.Array]:
    """The cotangents of what has any: those of integers are of no dtype at all."""
    return [d for d in jax.tree.leaves(cotangents) if d.dtype != jax.dtypes.float0]
