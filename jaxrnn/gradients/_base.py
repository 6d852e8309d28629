"""The gradient methods that carry a trace forward in time: what they share."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from .._layer import Layer, Static
from ._split import Step, advance, output, to_real, to_tree


class Update(NamedTuple):
    """The result of one online step: `(trace, state, loss, grads)`."""

    trace: Any
    state: Any
    loss: jax.Array
    grads: Any


StepLoss = Callable[[Any, Any], jax.Array]
"""`step_loss(y, target)`, the loss of one example at one step: a scalar."""


class Method(Static, abc.ABC):
    """Which derivative of a loss over time is returned; it never changes the loss.

    `init` and `update` run online, one example and one time step at a time. The trace is a
    pytree of arrays: carry it through `jax.lax.scan`, `vmap` it, and save it in a checkpoint.

    Attributes:
        exact: whether the gradient of a whole sequence is that of backpropagation.
        random: whether the method draws random numbers, so that `init` needs a key.
    """

    exact: ClassVar[bool] = False
    random: ClassVar[bool] = False

    @abc.abstractmethod
    def init(self, layer: Layer, params: Any, x: Any, *, key: Any = None) -> Any:
        """The trace before the first step, for one example.

        Args:
            layer: the layer.
            params: its parameters.
            x: an input of one step, or anything with its shape and dtype.
            key: the random key of a method that draws numbers.

        Raises:
            NotImplementedError: if the method does not fit the layer; it says which does.
        """

    def detach(self, trace: Any) -> Any:
        """The trace of a sequence that starts from a given, constant state."""
        return trace

    @abc.abstractmethod
    def update(
        self,
        layer: Layer,
        step_loss: StepLoss,
        params: Any,
        trace: Any,
        state: Any,
        x: Any,
        target: Any,
        *,
        reset: Any = None,
        valid: Any = None,
    ) -> Update:
        """One example, one time step: the loss of this step, and its gradient.

        Args:
            layer: the layer.
            step_loss: `step_loss(y, target)`, a scalar.
            params: its parameters; they may change from step to step.
            trace: the trace that `init` or the last update returned.
            state: the state before the step, as `layer.initial_state(params)` gives it.
            x: the input.
            target: the target.
            reset: a boolean; True restarts from the initial state, and cuts the trace.
            valid: a boolean; False skips the step: no loss, no gradient, nothing changes.

        Returns:
            `(trace, state, loss, grads)`, with gradients like `params`.
        """


class Forward(Method):
    """A method that carries an influence of the parameters on the state forward.

        dL_t / d params = dL_t / d params | state  +  (dL_t / d state_t) P_t

    The first part is exact. A subclass defines `start`, `follow` and `credit` for P.
    """

    @abc.abstractmethod
    def start(self, layer: Layer, params: Any, x: Any, key: Any) -> Any:
        """The influence of the parameters on the initial state, for one example."""

    @abc.abstractmethod
    def follow(self, step: Step, trace: Any) -> Any:
        """The influence after the step."""

    @abc.abstractmethod
    def credit(
        self, step: Step, trace: Any, target: "Target", signal: Any
    ) -> list[Any]:
        """`signal` times the influence: a real vector for each leaf of params."""

    def restart(self, layer: Layer, params: Any, trace: Any, x: Any) -> Any:
        """The trace of a sequence that starts now; random numbers go on."""
        del trace
        return self.start(layer, params, x, None)

    def init(self, layer, params, x, *, key=None):
        return self.start(layer, params, x, key)

    def update(
        self, layer, step_loss, params, trace, state, x, target, *, reset=None, valid=None
    ):  # fmt: skip
        kept = trace, state
        if valid is not None:
            x, target = where(valid, (x, target), _zeros((x, target)))
        if reset is not None:
            trace = where(reset, self.restart(layer, params, trace, x), trace)
            state = where(reset, layer.reset_state(params, state), state)
        step = Step(layer, params, state, x, advance(layer, params, state, x))
        aim = Target(step_loss, target)
        loss, explicit, signal = aim.gradients(step)
        trace = self.follow(step, trace)
        grads = _sum(explicit, self.credit(step, trace, aim, signal))
        if valid is None:
            return Update(trace, step.new, loss, grads)
        trace, new = where(valid, (trace, step.new), kept)
        loss, grads = where(valid, (loss, grads), _zeros((loss, grads)))
        return Update(trace, new, loss, grads)


class Target(NamedTuple):
    """The loss of one step, and its target."""

    step_loss: StepLoss
    target: Any

    def __call__(self, y: Any) -> jax.Array:
        return self.step_loss(y, self.target)

    def error(self, y: Any) -> tuple[jax.Array, Any]:
        """The loss, and its gradient by the output."""
        return jax.value_and_grad(lambda y: self(y))(y)

    def gradients(self, step: Step) -> tuple[jax.Array, Any, jax.Array]:
        """The loss, its gradient by the params for given states, and by the states."""

        def of(params: Any, flat: Any) -> jax.Array:
            state = to_tree(flat, step.new)
            return self(output(step.layer, params, state, step.x))

        by = jax.value_and_grad(of, argnums=(0, 1))
        loss, (explicit, signal) = by(step.params, to_real(step.new))
        return loss, explicit, signal


def _zeros(tree: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, tree)


def where(which: Any, yes: Any, no: Any) -> Any:
    """`yes` if the boolean `which` is True, else `no`: two pytrees of the same shapes."""

    def chosen(yes: Any, no: Any) -> Any:
        if jax.dtypes.issubdtype(jnp.result_type(yes), jax.dtypes.prng_key):
            data = jnp.where(which, jax.random.key_data(yes), jax.random.key_data(no))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(yes))
        return jnp.where(which, yes, no)

    return jax.tree.map(chosen, yes, no)


def _sum(explicit: Any, through: list[Any]) -> Any:
    """The gradient: both parts, with the dtypes of the parameters.

    JAX's gradient by a complex number is the conjugate of the vector of its derivatives by
    the real and the imaginary part.
    """
    leaves, tree = jax.tree.flatten(explicit)
    parts = [
        jnp.conj(to_tree(vector, leaf))
        for leaf, vector in zip(leaves, through, strict=True)
    ]
    return jax.tree.unflatten(tree, [a + b for a, b in zip(leaves, parts, strict=True)])
