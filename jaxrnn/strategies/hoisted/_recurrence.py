"""A recurrence over blocks of time steps, with a hand-written backward pass.

The forward pass runs the blocks in order and stores the states. The backward pass runs them
in reverse. Within a block, everything that is parallel over time runs for all steps at
once, while the block is in the cache.

For one step with S the state before it, f the element-wise part and y = a w its matmuls,
where the operand a is an element-wise function of S, z and earlier results,

    S' = f(S, z, y)

the backward pass of a block is

    y   = a w             all steps in one matmul; recomputed, or kept from the forward pass
    dS  = df^T dS'        the reverse loop: element-wise, and for each w a matmul da = dy w^T
    dw  = sum of a^T dy   all steps in one matmul, after the loop
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..._arrays import previous_states
from ..._autodiff._op import DifferentiableOp, call
from ..._layer import over_time_and_batch
from ..._partition import Matmul, Multiply, PartitionedStep, at_least_float32
from ..._sharding import aligned
from .._base import resident
from .._blocks import scan_blocks
from ._leaves import Split, split
from ._outputs import StateOutputs
from ._step_gradients import StepGradients, Unique, pull_step


class GradientSums(NamedTuple):
    """Gradients summed over blocks, at least in float32: those of the parameters that
    `project` and `readout` use, of the weights, and of the rest of the hoisted values."""

    params: list[jax.Array]
    weights: list[jax.Array]
    rest: list[jax.Array]


@dataclass(frozen=True, eq=False)
class Recurrence(DifferentiableOp):
    """One recurrence as a differentiable op, in blocks of time steps.

    The operands are the inexact leaves of `(params, hoisted, state, xs)`, and `nondiff` has
    the other leaves. The hoisted values are functions of the params, but operands of their
    own: JAX differentiates `PartitionedStep.hoist` outside of the op. So the gradients of
    params here are only those of `project` and `readout`.

    Attributes:
        project, readout: the cell's, for one sequence and one step.
        step: `recur` for a batch, partitioned at its matmuls.
        forward_block: the number of steps in a block of the forward pass.
        block: the number of steps in a block of the backward pass.
        recompute: True recomputes the results of the matmuls in the backward pass; False
            keeps them as residuals.
        state_outputs: for each output, the leaf of the state that it is; None if some
            output is not a leaf of the state.
        shapes: shapes and dtypes of `(params, hoisted, state, xs)`.
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
        """Runs the recurrence and returns `(state, ys)`."""
        given = (params, self.step.hoist(params), state, xs)
        shape = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype)
        op = dataclasses.replace(self, shapes=jax.tree.map(shape, given))
        return call(op, *split(given))

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
        params, hoisted = resident((params, hoisted))

        def steps(state, xs):
            zs = over_time_and_batch(self.project, params, xs)
            after, (states, products) = self._run_steps(hoisted, state, zs)
            if self.state_outputs is not None:
                return after, (states, products, None)
            ys = over_time_and_batch(self.readout, params, states, zs)
            return after, (states, products, ys)

        after, (states, products, ys) = scan_blocks(
            steps, state, xs, self.forward_block
        )
        ys = ys if self.state_outputs is None else self.state_outputs.outputs(states)
        return (after, ys), (states, products)

    def backward(self, operands, nondiff, saved, grads, wanted):
        del wanted  # XLA removes gradients that are not used
        params, hoisted, state, xs = Split(operands, nondiff).joined(self.shapes)
        params, hoisted = resident((params, hoisted))
        states, products = saved
        d_state, d_ys = map(_with_gradient, grads)

        def steps(carry, block, first):
            return self._reverse_steps(params, hoisted, carry, first, *block)

        # the state before each block: the initial one, then the last state of each block
        firsts = jax.tree.map(
            lambda s, after: jnp.concatenate(
                [s[None], after[self.block - 1 :: self.block]]
            ),
            state,
            states,
        )
        (d_state, sums), d_xs = scan_blocks(
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

        # in a loop, XLA:CPU fuses the slice of this step into the element-wise operations,
        # which it then does not vectorize, since the position is dynamic. Unrolled, all
        # positions are static.
        return lax.scan(body, state, zs, unroll=True)

    def _reverse_steps(self, params, hoisted, carry, first, xs, states, products, d_ys):
        """The backward pass of one block: `((d_state, sums), d_xs)`.

        `d_state` is the gradient of the state after the block, then of the one before it.
        """
        d_state, sums = carry
        zs, pull_project = self._projected(params, xs)
        before = previous_states(first, states)
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
        for matmul, a, dy in zip(
            self.step.matmuls, operands, found.products, strict=True
        ):
            i = self.step.weights.index(matmul.weight)
            d_weights[i] += matmul.weight_gradient(a, dy)
        total = jax.tree.map(
            lambda s, d: s + d.astype(s.dtype),
            sums,
            GradientSums(d_params, d_weights, d_rest),
        )
        return (d_state, total), d_xs

    def _projected(self, params, xs):
        """The projected inputs of a block, and the vjp of the projection."""
        leaves = split(xs)

        def project(params, inexact):
            zs = over_time_and_batch(
                self.project, params, Split(inexact, leaves.exact).joined(xs)
            )
            return split(zs).inexact, zs

        _, pull, zs = jax.vjp(project, params, leaves.inexact, has_aux=True)
        return zs, pull

    def _recompute_products(self, hoisted, before, zs, kept):
        """The operands and results of every matmul of a block, for all of its steps.

        All states are known by now, so the steps are independent. The batching rule of
        `dot_general` turns a vmap over time, with an unmapped weight, into one large
        matmul.
        """

        def step(state, z, kept):
            operands: list[jax.Array] = []
            products: list[jax.Array] = []
            recorded = _recording(operands, products, kept)
            self.step.step(hoisted, state, z, recorded)
            return operands, products

        return jax.vmap(step)(before, zs, kept)

    def _reverse_readout(self, params, states, zs, d_ys):
        """The gradients of the states, of params and of zs by the readout; None if zero."""
        if self.state_outputs is not None:
            return self.state_outputs.gradients(states, d_ys), None, None
        leaves = [split(states), split(zs)]

        def readout(params, *inexact):
            s, z = (
                Split(i, each.exact).joined(like)
                for i, each, like in zip(inexact, leaves, (states, zs), strict=True)
            )
            return split(over_time_and_batch(self.readout, params, s, z)).inexact

        _, pull = jax.vjp(readout, params, *(each.inexact for each in leaves))
        d_params, d_states, d_zs = pull(d_ys)
        return d_states, split(d_params).inexact, d_zs

    def _reverse_loop(self, hoisted, d_state, before, zs, products, d_states):
        """The reverse loop over the steps of a block, with one matmul for each weight."""
        pulls, shapes = self._linearized(hoisted, before, zs, products)
        found = Unique()

        def body(d_after, step):
            d_before, made = self._reverse_step(hoisted[0], shapes, d_after, *step)
            return d_before, found.stacked(made)

        d_state, unique = lax.scan(body, d_state, (pulls, d_states), reverse=True)
        return d_state, found.joined(unique)

    def _reverse_step(self, weights, shapes, d_after, pull, d_own):
        """The gradients of the state before a step, and the other ones of the step.

        `pull` is the vjp of the step without its matmuls, whose operands have `shapes`.
        `d_own` are the gradients of the state after the step by its own output.
        """
        of = dict(zip(self.step.weights, weights, strict=True))
        total = [
            d if own is None else d + own for d, own in zip(d_after, d_own, strict=True)
        ]
        zeros = [jnp.zeros(a.shape, a.dtype) for a in shapes]
        d_operands = aligned(zeros, total)
        # The results y_i of the matmuls are inputs of `pull`'s step, and their operands a_i
        # are outputs. An operand may depend on results of earlier matmuls only, so dy of
        # the last matmul is known first, then da = dy w^T, then the one before it. `pull`
        # is element-wise, and XLA merges its repeated parts.
        for i, matmul in reversed(list(enumerate(self.step.matmuls))):
            dy = pull((d_operands, total))[2][i]
            d_operands[i] = matmul.operand_gradient(shapes[i], of[matmul.weight], dy)
        d_before, d_z, d_products = pull((d_operands, total))
        return d_before, StepGradients(total if self.step.rest else [], d_z, d_products)

    def _linearized(self, hoisted, before, zs, products):
        """The vjp of each step of a block, with the matmuls taken out, and operand shapes.

        The step here is a function of the state, z and the results of the matmuls. It
        returns the operands of the matmuls and the next state. So its vjp contains no
        weight, and its residuals are small arrays. `jax.vjp` returns a pytree whose leaves
        are these residuals; under vmap they get a time axis, and the reverse loop can scan
        over them.
        """
        shapes: list[jax.ShapeDtypeStruct] = []

        def linearize(state, z, products):
            pull, shapes[:] = pull_step(self.step, hoisted, state, z, products)
            return pull

        return jax.vmap(linearize)(before, zs, products), shapes

    def _rest_gradient(self, hoisted, before, zs, products, d_states):
        """The gradient of hoisted values that are not weights, such as biases.

        The reverse loop has given the gradient of every step's next state, so the steps are
        independent: one vjp of all of them, which sums over time since they share `rest`.
        """
        weights, rest = hoisted
        leaves = split(rest)
        if not leaves.inexact:
            return []

        def steps(inexact):
            def step(state, z, products):
                known = _fixed_products(products)
                inside = (weights, Split(inexact, leaves.exact).joined(rest))
                return split(self.step.step(inside, state, z, known)).inexact

            return jax.vmap(step)(before, zs, products)

        return jax.vjp(steps, leaves.inexact)[1](d_states)[0]


def _recording(
    operands: list, products: list, kept: Sequence[jax.Array] = ()
) -> Multiply:
    """Appends operands and results of matmuls to two lists; uses results that were kept."""

    def multiply(i: int, matmul: Matmul, a: jax.Array, w: jax.Array) -> jax.Array:
        operands.append(a)
        products.append(kept[i] if kept else matmul.of(a, w))
        return products[-1]

    return multiply


def _fixed_products(products: Sequence[jax.Array]) -> Multiply:
    """Matmuls with known results and the gradient of their operands.

    A parameter may act on the operand of a matmul, such as a scale of it, so gradients must
    pass through the matmul although its result is not recomputed. `custom_vjp` is enough
    here: this runs only inside a backward pass, whose own derivatives are the reference's.
    """

    def multiply(i: int, matmul: Matmul, a: jax.Array, w: jax.Array) -> jax.Array:
        like = jax.ShapeDtypeStruct(a.shape, a.dtype)

        @jax.custom_vjp
        def known(a, w, y):
            return y

        def backward(w, dy):
            return matmul.operand_gradient(like, w, dy), None, None

        known.defvjp(lambda a, w, y: (y, w), backward)
        return known(a, w, products[i])

    return multiply


def _no_sums(params: Any, hoisted: tuple[list, list]) -> GradientSums:
    def zeros(tree):
        return [
            jnp.zeros(p.shape, at_least_float32(p.dtype)) for p in split(tree).inexact
        ]

    return GradientSums(zeros(params), *map(zeros, hoisted))


def _with_gradient(cotangents: Any) -> list[jax.Array]:
    """The cotangents of inexact outputs, without the float0 cotangents of integers."""
    return [d for d in jax.tree.leaves(cotangents) if d.dtype != jax.dtypes.float0]
