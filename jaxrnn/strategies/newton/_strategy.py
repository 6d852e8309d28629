"""`Newton` solves all steps of a nonlinear recurrence together, by Newton's method.

With `J_t` the Jacobian of step t at the current iterate, or a part of it, an iteration
solves the linear recurrence

    h^new_t = f(h_{t-1}, z_t) + J_t (h^new_{t-1} - h_{t-1})

Lim et al. 2024, arXiv:2309.12252 (DEER); Gonzalez et al. 2024, arXiv:2407.19115 (quasi-DEER
and ELK); a unified view of both: Gonzalez et al. 2025, arXiv:2509.21716.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from ... import _check
from ..._arrays import previous_states
from ..._layer import Cell, over_time_and_batch
from ..._sharding import aligned
from ..._wrapper import clips_gradient
from .._base import Refused, Strategy
from .._masked import resets_of
from .._scan import Scan
from ._elementwise import is_elementwise
from ._jacobians import (
    BlockJacobian,
    DiagonalJacobian,
    FullJacobian,
    Jacobian,
    Step,
    Vectors,
)
from ._reverse_only import reverse_only
from ._state_vectors import Flat


class Solution(NamedTuple):
    """The result of `Newton.solve`.

    Attributes:
        state: the state after the last step, leaves `(B, ...)`.
        ys: the outputs, `(T, B, ...)`.
        states: the states after every step, leaves `(T, B, ...)`; usable as the `guess` of
            another solve.
        iterations: the number of Newton iterations.
        residual: `(B,)`, the largest `|h - f(h_before)| / (1 + |f|)` of each sequence after
            the last iteration; NaN if the iteration overflowed.
        fell_back: True if the iteration failed, so that `Scan()` gave the answer.
    """

    state: Any
    ys: Any
    states: Any
    iterations: Integer[Array, ""]
    residual: Float[Array, "B"]
    fell_back: Bool[Array, ""]


class _Solved(NamedTuple):
    """The states after every step, and the report of the iteration."""

    states: Any
    iterations: Integer[Array, ""]
    residual: Float[Array, "B"]
    fell_back: Bool[Array, ""]


@dataclass(frozen=True)
class Newton(Strategy):
    """Solves all steps of any recurrence together, by Newton's method over the sequence.

        d_t = J_t d_{t-1} + f(h_{t-1}, z_t) - h_t,    h <- h + d,    until |h - f| <= tol

    Each iteration is a linear recurrence, which is parallel over time. For a contractive
    cell, the number of iterations does not depend on T; for a chaotic cell (Lyapunov
    exponent above 0) it is hopelessly large (Gonzalez et al. 2025, arXiv:2508.16817). If
    the residual is not below `tol` after `max_iter` iterations, or the solution is
    ill-conditioned (the next Newton step exceeds 100 `tol`), the sequential `Scan()` runs
    for the whole batch and its answer is returned. `solve` reports what happened.

    Gradients are exact for every choice of `jacobian`: the backward pass is one linear
    recurrence in reverse with the exact Jacobian. It is parallel if the exact Jacobian is
    diagonal or in blocks, or if the full one is used, and runs step by step otherwise. Only
    reverse mode is supported. Under `jax.vmap` the fallback always runs as well, since a
    batched condition runs both branches.

    It pays for long sequences with small batches and states, for cells that forget, above
    all element-wise ones, on a device that is otherwise idle; on a CPU only with gradients
    and for small states (measured in docs/measured.md).

    Memory, with N the size of the state and a copy of T B N floats: for element-wise cells
    on a CPU, 12 to 16 copies forward and 15 to 19 with gradients, where `Scan()` takes 4 to
    7 and 11 to 19. The full Jacobian adds about 2 T B N^2 floats. The computation is at
    least float32; a bfloat16 state is solved in float32 and rounded once.

    Args:
        tol: the bound of the residual, relative to 1 + |h|; None for 1e-6, or 1e-12 in
            float64.
        max_iter: the number of iterations before the fallback.
        jacobian: `FullJacobian()`, `DiagonalJacobian()` or `BlockJacobian()`; None for the
            smallest one that is exact: diagonal or blocks for element-wise cells, full for
            others.
        damping: above 0, each iteration is a Kalman filter that trusts the current iterate
            with precision `damping` ("ELK"): slower, but more robust.
        max_bytes: the memory that all Jacobians together may take, in bytes.

    Raises:
        TypeError, ValueError: if an argument is out of range.
        NotImplementedError: if a cell's Jacobians would exceed `max_bytes`, if its state
            does not fit the chosen Jacobian or is not real floating-point, or if it clips
            its gradient.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.ParaGRU(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> xs = jnp.ones((500, 2, 3))
        >>> state, ys = jaxrnn.unroll(cell, params, xs, strategy=jaxrnn.Newton())
        >>> solution = jaxrnn.Newton().solve(cell, params, xs)
        >>> bool(solution.iterations < 8), bool(solution.fell_back)
        (True, False)

    Reference: Lim et al. 2024, arXiv:2309.12252; Gonzalez et al. 2024, arXiv:2407.19115;
    Danieli et al. 2025, arXiv:2510.21450.
    """

    tol: float | None = None
    max_iter: int = 100
    jacobian: Jacobian | None = None
    damping: float = 0.0
    max_bytes: int = 2**32

    def __post_init__(self):
        if self.tol is not None and not self.tol > 0:
            raise ValueError(
                f"Newton(tol={self.tol!r}): the residual is at least 0 and seldom exactly 0; "
                "give a bound above 0, such as 1e-6, or None."
            )
        if not isinstance(self.max_iter, int) or self.max_iter < 1:
            raise ValueError(
                f"Newton(max_iter={self.max_iter!r}): give a number of iterations, an "
                "integer of at least 1."
            )
        if not (self.jacobian is None or isinstance(self.jacobian, Jacobian)):
            raise TypeError(
                f"Newton(jacobian={self.jacobian!r}): give FullJacobian(), "
                "DiagonalJacobian() or BlockJacobian() of jaxrnn.strategies; or None."
            )
        if not self.damping >= 0:
            raise ValueError(
                f"Newton(damping={self.damping!r}): give a precision of at least 0; 0 means "
                "no damping."
            )

    def check(self, cell, params, state, xs):
        if clips_gradient(cell):
            raise Refused(self, cell, "it cannot clip a gradient; Hoisted() can")
        kinds = {str(s.dtype) for s in jax.tree.leaves(state)}
        if not all(
            jnp.issubdtype(s.dtype, jnp.floating) for s in jax.tree.leaves(state)
        ):
            raise Refused(
                self,
                cell,
                f"it works on real floats, and the state is {', '.join(sorted(kinds))}",
            )
        example = lambda tree, axes: jax.tree.map(lambda x: _example(x, axes), tree)
        z = jax.eval_shape(cell.project, example(params, 0), example(xs, 2))
        step = _step(cell, example(params, 0), example(state, 1), z)
        jacobian = self._jacobian(step)
        reason = jacobian.why_not(step)
        if reason is not None:
            raise Refused(self, cell, f"{jacobian} does not fit: {reason}")
        time, batch = jax.tree.leaves(xs)[0].shape[:2]
        dtype = Flat.of(example(state, 1)).dtype
        needed = time * batch * jacobian.floats(step) * dtype.itemsize
        if needed > self.max_bytes:
            raise Refused(
                self,
                cell,
                f"the Jacobians for T={time}, B={batch} take "
                f"{needed:.2g} bytes, more than max_bytes={self.max_bytes:.2g}. Give "
                "jacobian=jaxrnn.strategies.DiagonalJacobian(), shorter sequences, or a "
                "larger max_bytes.",
            )

    def run(self, cell, params, state, zs):
        solved = self._solved(cell, params, state, zs, None)
        return jax.tree.map(lambda s: s[-1], solved.states), solved.states

    def solve(
        self,
        cell: Any,
        params: Any,
        xs: Any,
        state: Any = None,
        *,
        guess: Any = None,
    ) -> Solution:
        """Unrolls one cell by this strategy, optionally from a guess, with a report.

        Args:
            cell: any cell.
            params, xs, state: as for `jaxrnn.unroll`.
            guess: states to start the iteration from, leaves `(T, B, ...)`, such as the
                `states` of an earlier solution; None for one step from the initial state at
                every time step. It changes only the number of iterations.

        Returns:
            A `Solution`. Its `state`, `ys` and `states` are differentiable.

        Raises:
            TypeError, ValueError: if an argument is invalid.
            NotImplementedError: if this strategy cannot run the cell.
        """
        if not isinstance(cell, Cell):
            raise TypeError(f"Newton.solve takes one cell, but this is {cell!r}.")
        _, params, xs, state, *_ = _check.arguments(cell, params, xs, state)
        self.check(cell, params, state, xs)
        if guess is not None:
            guess = _checked_guess(guess, state, jax.tree.leaves(xs)[0].shape[0])
        return _solve(self, cell, params, xs, state, guess)

    def _solved(self, cell, params, state, zs, guess):
        params, state, zs = reverse_only(str(self), (params, state, zs))
        return _solved(self, cell, params, state, zs, guess)

    def _jacobian(self, step: Step) -> Jacobian:
        if self.jacobian is not None:
            return self.jacobian
        return _exact(step) or FullJacobian()

    def _tolerance(self, dtype: Any) -> float:
        if self.tol is not None:
            return self.tol
        return 1e-12 if dtype == jnp.float64 else 1e-6


def _exact(step: Step) -> Jacobian | None:
    """The smallest Jacobian that is exact for an element-wise cell; None for others."""
    if not step.elementwise:
        return None
    return DiagonalJacobian() if step.leaves == 1 else BlockJacobian()


def _checked_guess(guess: Any, state: Any, time: int) -> Any:
    """The guess, if it has the structure and shapes of the states after every step."""
    given = jax.tree.map(jnp.shape, guess)
    wanted = jax.tree.map(lambda s: (time, *s.shape), state)
    if given != wanted:
        raise ValueError(
            f"guess has the shapes {given}, where {wanted} is needed: give states after "
            "every step, such as Solution.states."
        )
    return guess


def _example(x: Any, axes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape[axes:], x.dtype)


def _step(cell: Cell, params: Any, state: Any, z: Any) -> Step:
    """The recurrence over vectors; the arguments are shapes for one sequence."""
    flat = Flat.of(state)
    equal = len(set(flat.shapes)) == 1
    return Step(
        call=partial(flat.step, cell),
        size=flat.size,
        leaves=len(flat.shapes) if equal else 0,
        elementwise=is_elementwise(cell, params, state, z),
    )


def _prepared(cell: Cell, params: Any, state: Any, zs: Any) -> tuple[Flat, Step]:
    example = lambda tree, axes: jax.tree.map(lambda x: _example(x, axes), tree)
    one, z = example(state, 1), example(zs, 2)
    return Flat.of(one), _step(cell, example(params, 0), one, z)


@partial(jax.jit)
def _solve(newton: Newton, cell: Cell, params, xs, state, guess) -> Solution:
    zs = over_time_and_batch(cell.project, params, xs)
    states, *report = newton._solved(cell, params, state, zs, guess)
    ys = over_time_and_batch(cell.readout, params, states, zs)
    last = jax.tree.map(lambda s: s[-1], states)
    return Solution(last, ys, states, *map(jax.lax.stop_gradient, report))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _solved(newton: Newton, cell: Cell, params, state, zs, guess) -> _Solved:
    """The states after every step, by Newton's method or by the fallback, and a report.

    The iteration itself is not differentiated: at the solution, the implicit function
    theorem gives the gradients, however it was found. `custom_vjp`, since forward mode
    would need a rule of its own; `reverse_only` raises a clear error for it.
    """
    flat, step = _prepared(cell, params, state, zs)
    if guess is None:
        start = aligned(flat.vector(cell.initial_state(params)), zs)
        time, batch = jax.tree.leaves(zs)[0].shape[:2]
        vectors = jnp.broadcast_to(start, (time, batch, flat.size))
        vectors = over_time_and_batch(step.call, params, vectors, zs)
    else:
        vectors = flat.vector(guess)
    vectors, iterations, residual, done = _iterate(
        newton, step, params, flat.vector(state), zs, vectors
    )
    states = jax.lax.cond(
        done,
        lambda: flat.state(vectors),
        lambda: Scan().run(cell, params, state, zs)[1],
    )
    return _Solved(states, iterations, residual, ~done)


def _iterate(newton, step, params, first, zs, states):
    """Iterates until all sequences have converged: `(states, count, residual, done)`."""
    jacobian, tol = newton._jacobian(step), newton._tolerance(states.dtype)

    def evaluated(states):
        after, a = jacobian.linearise(step, params, previous_states(first, states), zs)
        return states, after, a, _relative(states - after, after)

    def unfinished(carry):
        count, (_, _, _, residual) = carry
        # NaN > tol is False and ends the loop: the iteration would not recover from it
        return (count < newton.max_iter) & (jnp.max(residual) > tol)

    def body(carry):
        count, (states, after, a, _) = carry
        d = jacobian.solve(step, a, after - states, newton.damping)
        return count + 1, evaluated(states + d)

    count, (states, after, a, residual) = jax.lax.while_loop(
        unfinished, body, (jnp.int32(0), evaluated(states))
    )
    # a small residual means a small error only if the steps do not amplify it; the next
    # Newton step, undamped, estimates the error
    error = _relative(jacobian.solve(step, a, after - states), after)
    done = (jnp.max(residual) <= tol) & (jnp.max(error) <= 100 * tol)
    return states, count, residual, done


def _relative(difference: Vectors, to: Vectors) -> Float[Array, "B"]:
    return jnp.max(jnp.abs(difference) / (1 + jnp.abs(to)), axis=(0, 2))


def _solved_forward(newton, cell, params, state, zs, guess):
    solved = _solved(newton, cell, params, state, zs, guess)
    return solved, (params, state, zs, guess, solved.states)


def _solved_backward(newton, cell, kept, cotangent):
    """The adjoint recurrence at the solution, then one vjp of all steps by its result.

    With h_t = f(h_{t-1}, z_t) at the solution, l_t = g_t + J_{t+1}^T l_{t+1} is the total
    gradient of h_t. It is linear in g with the exact J, also where the iteration used only
    a part of J. Given all l_t, steps are independent, and a single vjp of the batch of all
    steps gives the gradients of params, z and the first state. The guess has none.
    """
    params, state, zs, guess, states = kept
    flat, step = _prepared(cell, params, state, zs)
    before = previous_states(flat.vector(state), flat.vector(states))
    g = flat.vector(cotangent.states)
    exact = _exact(step)
    if exact is None and newton.jacobian in (None, FullJacobian()):
        exact = FullJacobian()
    if exact is None:
        adjoints = _adjoint_by_steps(step, params, before, zs, g)
    else:
        _, a = exact.linearise(step, params, before, zs)
        adjoints = exact.adjoint(step, a, g, resets_of(zs))
    after = lambda params, before, zs: over_time_and_batch(
        step.call, params, before, zs
    )
    _, pull = jax.vjp(after, params, before, zs)
    d_params, d_before, d_zs = pull(adjoints)
    return d_params, flat.state(d_before[0]), d_zs, jax.tree.map(jnp.zeros_like, guess)


def _adjoint_by_steps(step, params, before, zs, g):
    """`l_t = g_t + J_{t+1}^T l_{t+1}` as a reverse scan of vjps, which never form J."""

    def body(later, inputs):
        before, z, g = inputs
        adjoint = g + later
        one = lambda s, z: step.call(params, s, z)
        _, pull = jax.vjp(lambda s: jax.vmap(one)(s, z), before)
        return pull(adjoint)[0], adjoint

    return jax.lax.scan(body, jnp.zeros_like(g[0]), (before, zs, g), reverse=True)[1]


_solved.defvjp(_solved_forward, _solved_backward)
