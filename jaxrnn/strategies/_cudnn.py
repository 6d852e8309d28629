"""`CuDNN`: LSTMs by cuDNN, through `jax.experimental.rnn`."""

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jaxtyping import Array, Bool, Float, Integer

from .._autodiff._op import DifferentiableOp, call
from .._layer import Cell
from .._sharding import abstract_result
from . import kernel_table
from ._base import Refused, Strategy, unmasked
from ._masked import MaskedInput
from ._platform import platform


_PLATFORM = "cuda"
"""The one platform that `jax.experimental.rnn` has cuDNN for."""

_FULL = ("highest", "float32", "F32_F32_F32")
"""The values of `jax_default_matmul_precision` that rule out TF32."""


@dataclass(frozen=True)
class CuDNN(Strategy):
    """Runs LSTMs by cuDNN, in float32 and on CUDA only: a baseline, to be given by name.

    It runs an `LSTM` with its usual activations, those of one hidden size that follow each
    other in a `jaxrnn.Stack` in one call, and both directions of a `jaxrnn.Bidirectional` of
    an `LSTM` in one call; with initial states, lengths and masks. At each call the weights
    are copied into the one vector that cuDNN takes, and steps that are skipped are moved to
    the end of their sequence. cuDNN may use TF32, unless `jax_default_matmul_precision` is
    "highest".

    The surprise: no cuDNN has run this. It was tested as far as lowering for CUDA on a machine
    without a GPU, and with JAX's own reference of the call in place of cuDNN.

    Reverse mode runs cuDNN's backward pass. Forward mode and higher derivatives
    differentiate `jax.experimental.rnn.lstm_ref`. `vmap` becomes a loop of calls.

    Raises:
        NotImplementedError: for any other cell, dtype or platform, for resets, inside
            `jax.shard_map`, and without JAX's plugin for CUDA.

    Example:
        >>> import jaxrnn
        >>> model = jaxrnn.Stack((jaxrnn.LSTM(8, 64), jaxrnn.LSTM(64, 64)))
        >>> options = {"strategy": jaxrnn.CuDNN(), "platform": "gpu"}
        >>> print(jaxrnn.explain(model, (100, 16, 8), **options))
        2 layers of LSTM(input_size=8, hidden_size=64) over T=100, B=16, on gpu
          runs          CuDNN(): lowered for CUDA in tests, never run

    Reference: Appleyard, Kocisky, Blunsom 2016, arXiv:1604.01946.
    """

    joins_layers = True

    def check(self, cell, params, state, xs):
        own = unmasked(cell)
        own = own.cell if isinstance(own, JoinedLSTMs) else own
        refused = partial(Refused, self, cell)
        if not _is_lstm(own):
            raise refused("it runs LSTM with its usual activations only")
        if platform() not in (None, "gpu"):
            raise refused(f"its library is for CUDA, and this is {platform()}")
        if platform() is None and not _has_plugin():
            raise refused(
                "its library is for CUDA, and JAX's plugin for CUDA is not installed here; "
                'pip install "jax[cuda13]" on a machine with a GPU'
            )
        if isinstance(xs, MaskedInput) and xs.reset is not None:
            raise refused(
                "cuDNN cannot restart inside a sequence, and resets are given"
            )
        if jax.sharding.get_abstract_mesh().manual_axes:
            raise refused("it has not been tested inside jax.shard_map")
        leaves = jax.tree.leaves((params, state, xs))
        dtypes = {x.dtype for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)}
        if dtypes != {jnp.dtype("float32")}:
            names = ", ".join(sorted(map(str, dtypes)))
            raise refused(
                f"it computes in float32 throughout, and params, state and inputs are {names}"
            )

    def plan(self, cell, params, state, xs):
        plan = super().plan(cell, params, state, xs)
        return replace(plan, how="lowered for CUDA in tests, never run")

    def unroll(self, cell, params, state, xs):
        own = unmasked(cell)
        if not isinstance(own, JoinedLSTMs):
            one = JoinedLSTMs(own, 1, False)
            (state,), ys = _run(one, (params,), (state,), xs)
            return state, ys
        return _run(own, params, state, xs)

    def joined(self, layers):
        first, count = layers[0], 1
        if not _is_lstm(first):
            return 1
        size = getattr(first, "hidden_size", None)
        for layer in layers[1:]:
            # in a stack a layer reads h of the one below; two directions read the same
            inputs = (size, getattr(first, "input_size", None))
            same = type(layer) is type(first) and _is_lstm(layer)
            if not same or layer.hidden_size != size or layer.input_size not in inputs:
                break
            count += 1
        return count

    def unroll_stack(self, cell, params, states, xs, context):
        joined = JoinedLSTMs(cell, len(params), False)
        return self(joined, tuple(params), tuple(states), xs, context)

    def unroll_side_by_side(self, cell, params, states, xs, contexts):
        """Runs both directions over the first of `xs`; the second is the same, reversed."""
        both = JoinedLSTMs(cell, 1, True)
        states, ys = self(both, tuple(params), tuple(states), xs[0], contexts[0])
        forward, backward = jnp.split(ys, 2, axis=-1)
        return states, (forward, backward[::-1])


@dataclass(frozen=True)
class JoinedLSTMs(Cell):
    """LSTMs that cuDNN runs in one call: `layers` of a stack, or two directions of a layer.

    Params and states are tuples, the lowest layer first, the forward direction first.
    """

    cell: Cell
    layers: int
    bidirectional: bool

    def __str__(self):
        if self.bidirectional:
            return f"both directions of {self.cell}"
        return f"{self.layers} layers of {self.cell}"

    def init(self, key):
        raise NotImplementedError("its layers make their own parameters")

    def initial_state(self, params):
        raise NotImplementedError("it starts from the states of its layers")

    def recur(self, params, state, z):
        raise NotImplementedError("cuDNN runs all steps in one call")


def _is_lstm(cell: Any) -> bool:
    """Whether the kernel `lstm`, which computes what cuDNN does, computes this cell."""
    found = kernel_table.find(cell) if isinstance(cell, Cell) else None
    return found is not None and found.row.kernel == "lstm"


def _has_plugin() -> bool:
    """Whether JAX's plugin for CUDA is installed: without it JAX cannot trace the call."""
    from jax.experimental import rnn

    # private, but JAX has no public way to ask; where the name is gone, the answer is no
    return hasattr(rnn.gpu_rnn, "compute_rnn_workspace_reserve_space_sizes")


def _run(cell: JoinedLSTMs, params: Any, state: Any, xs: Any) -> tuple[Any, Array]:
    """`(state, ys)` of LSTMs in the layout of this library, from `(T, B, I)`."""
    valid, inputs = None, xs
    if isinstance(xs, MaskedInput):
        valid, inputs = xs.valid, xs.value
    inputs = inputs.astype(state[0].h.dtype)  # integers are converted
    if valid is None:
        lengths = jnp.full(inputs.shape[1], inputs.shape[0], jnp.int32)
        return _call(cell, params, state, inputs, lengths)
    order = _taken_first(valid)
    # Not all versions of cuDNN's documentation allow a length of 0. The one step that such a
    # sequence takes leaves no trace: its output is masked here, its state in `unroll`.
    lengths = jnp.maximum(order.lengths, 1)
    inputs = _moved(inputs, order.gather)
    after, ys = _call(cell, params, state, inputs, lengths)
    return after, jnp.where(valid[..., None], _moved(ys, order.scatter), 0)


def _call(
    cell: JoinedLSTMs, params: Any, state: Any, inputs: Array, lengths: Array
) -> tuple[Any, Array]:
    """The same over the first steps of each sequence, as many as its length."""
    hidden = state[0].h.shape[-1]
    found = kernel_table.find(cell.cell)
    assert found is not None
    config: Any = jax.config
    full = str(config.jax_default_matmul_precision) in _FULL
    op = CuDNNCall(
        inputs.shape[-1],
        hidden,
        cell.layers,
        cell.bidirectional,
        "highest" if full else "high",
    )
    operands = (
        jnp.swapaxes(inputs, 0, 1),
        jnp.stack([s.h for s in state]),
        jnp.stack([s.c for s in state]),
        packed([found.weights(p, hidden)[:3] for p in params]),
    )
    ys, h, c = call(op, operands, lengths)
    after = tuple(s._replace(h=h[i], c=c[i]) for i, s in enumerate(state))
    return after, jnp.swapaxes(ys, 0, 1)


class _Order(NamedTuple):
    """An order of the steps of each sequence, with those that are taken in front.

    Attributes:
        gather: `(T, B)`, for each place the step that is moved there.
        scatter: `(T, B)`, for each step the place that it is moved to.
        lengths: `(B,)`, the number of steps that are taken.
    """

    gather: Integer[Array, "T B"]
    scatter: Integer[Array, "T B"]
    lengths: Integer[Array, "B"]


def _taken_first(valid: Bool[Array, "T B"]) -> _Order:
    """Steps that are skipped, at the end of each sequence, where cuDNN reads nothing.

    That serves lengths, gaps, and reversed sequences, whose padding comes first.
    """
    gather = jnp.argsort(~valid, axis=0, stable=True)
    return _Order(gather, jnp.argsort(gather, axis=0), valid.sum(0, dtype=jnp.int32))


def _moved(xs: Float[Array, "T B n"], steps: Integer[Array, "T B"]) -> Array:
    """Each sequence in the order of `steps`, which has every step once."""
    sequences = jnp.arange(xs.shape[1])[None]
    at = xs.at[steps, sequences]
    return at.get(unique_indices=True, mode="promise_in_bounds")


def packed(cells: list[tuple[Array, Array, Array]]) -> Float[Array, "n"]:
    """`(w, u, b)` of each LSTM as the one vector that cuDNN takes.

    cuDNN stores W and U transposed, all matrices before all biases, and two biases a cell.
    Its gates have our order, so the second bias is zero, and JAX drops its gradient.
    """
    matrices = [m.T.ravel() for w, u, _ in cells for m in (w, u)]
    biases = [b for *_, own in cells for b in (own, jnp.zeros_like(own))]
    return jnp.concatenate(matrices + biases)


@dataclass(frozen=True)
class CuDNNCall(DifferentiableOp):
    """One call of cuDNN on x `(B, T, I)`, h and c `(cells, B, H)`, and packed weights.

    Not differentiable are the lengths, `(B,)`. The outputs are those of
    `jax.experimental.rnn.lstm`, and the residuals are y and cuDNN's own.
    """

    inputs: int
    hidden: int
    layers: int
    bidirectional: bool
    precision: str

    def reference(self, operands, nondiff):
        from jax.experimental import rnn

        *arrays, weights = operands
        sizes = (self.inputs, self.hidden, self.layers)
        matrices = rnn.unpack_lstm_weights(weights, *sizes, self.bidirectional)
        return rnn.lstm_ref(
            *arrays, *matrices, nondiff, *sizes, 0.0, self.bidirectional
        )

    def value(self, operands, nondiff):
        return tuple(_bound(self, "value")(*operands, nondiff))

    def forward(self, operands, nondiff):
        y, h, c, kept = _bound(self, "forward")(*operands, nondiff)
        return (y, h, c), (y, kept)

    def backward(self, operands, nondiff, saved, grads, wanted):
        del wanted
        return tuple(_bound(self, "backward")(*operands, nondiff, *saved, *grads))

    def cudnn_value(self, *flat):
        return self.cudnn_forward(*flat)[:3]

    def cudnn_forward(self, *flat):
        from jax.experimental import rnn

        out, (*_, kept) = rnn.lstm_fwd(*flat, *self._options())
        return (*out, kept)

    def cudnn_backward(self, *flat):
        from jax.experimental import rnn

        *residuals, d_y, d_h, d_c = flat
        run: Any = rnn.lstm_bwd
        grads = run(*self._options(), tuple(residuals), (d_y, d_h, d_c))
        return grads[:4]

    def _options(self):
        """The static arguments of JAX's functions, in their order."""
        sizes = (self.inputs, self.hidden, self.layers)
        return (*sizes, 0.0, self.bidirectional, self.precision)


# A primitive, since the platform is known only when a program is lowered: elsewhere than on
# CUDA its rule says so, where JAX's own primitive would have no rule at all.
_call_p = Primitive("jaxrnn_cudnn")
_call_p.multiple_results = True


@lru_cache(maxsize=256)
def _bound(op: CuDNNCall, name: str) -> Any:
    """One method on flat arrays; under vmap a loop, since cuDNN has no batching rule."""
    return sequential_vmap(lambda *flat: tuple(_call_p.bind(*flat, op=op, name=name)))


def _avals(x, h, c, *rest, op, name):
    if name == "backward":
        return [x, h, c, rest[0]]
    features = op.hidden * (2 if op.bidirectional else 1)
    out = [abstract_result((x,), (*x.shape[:2], features), x.dtype), h, c]
    if name == "forward":  # only cuDNN knows how much it keeps for the backward pass
        shaped = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (x, h, c, *rest)]
        kept = jax.eval_shape(op.cudnn_forward, *shaped)[3]
        out.append(abstract_result((x,), kept.shape, kept.dtype))
    return out


def _lower(ctx, *flat, op, name):
    platforms = ctx.module_context.platforms
    if tuple(platforms) != (_PLATFORM,):
        raise NotImplementedError(
            "CuDNN() has a library for CUDA only, and this program is lowered for "
            f"{', '.join(platforms)}. Give strategy=jaxrnn.Auto(), which never uses it, or "
            "jaxrnn.Hoisted()."
        )
    run = mlir.lower_fun(getattr(op, f"cudnn_{name}"), multiple_results=True)
    return run(ctx, *flat)


@lru_cache(maxsize=256)
def _compiled(op: CuDNNCall, name: str) -> Any:
    return jax.jit(partial(_call_p.bind, op=op, name=name))


def _run_now(*flat, op, name):
    # also under jax.disable_jit: there is no Python inside to step through
    with jax.disable_jit(False):
        return _compiled(op, name)(*flat)


_call_p.def_impl(_run_now)
_call_p.def_abstract_eval(_avals)
mlir.register_lowering(_call_p, _lower)
