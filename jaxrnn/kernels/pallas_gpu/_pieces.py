"""Evaluates the step of a recurrence on pieces of its arrays: some units of some sequences.

A block of threads owns `U` of the `H` units. A value `(B, k H)` of the step, such as `k` gates
side by side, is `k` pieces `(rows, U)` there: the same units of every gate. Element-wise
operations run on each piece, a slice at multiples of `H` selects pieces, and a concatenation
joins them. An operation that mixes units, such as a mean over them, is refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal


class NotByUnit(NotImplementedError):
    """A step cannot be divided over units."""


@dataclass(frozen=True, eq=False)
class Uniform:
    """One number, for every sequence and unit."""

    value: Any


@dataclass(frozen=True, eq=False)
class Vector:
    """One number per sequence, `(B,)` or `(B, 1)`, or per unit, `(k H,)` or `(1, k H)`.

    A length alone does not say which if `B` is a multiple of `H`. So `at` gives the pieces
    for either, and the broadcast that makes the vector a matrix decides.
    """

    at: Callable[[str], tuple[Any, ...]]
    """`"rows"` gives one piece `(rows,)`; `"units"` gives pieces `(U,)`, one per `H` units."""

    axis: str | None = None
    """The axis, where the shape has decided it."""

    def pieces(self, axis: str) -> tuple[Any, ...]:
        if self.axis not in (None, axis):
            raise NotByUnit("a value per unit would become a value per sequence")
        return self.at(axis)


@dataclass(frozen=True, eq=False)
class Columns:
    """A matrix `(B, k H)`, as `k` pieces `(rows, U)`."""

    pieces: tuple[Any, ...]


Value = Uniform | Vector | Columns


@dataclass(frozen=True)
class Sizes:
    """The sizes of a recurrence and of a piece.

    Attributes:
        batch, hidden: the sequences `B` and units `H` of the step.
        rows, units: the sequences and units of one piece.
    """

    batch: int
    hidden: int
    rows: int
    units: int

    def columns(self, shape: Sequence[int]) -> int:
        """The number of pieces of a matrix `(B, k H)`; 0 for any other shape."""
        if len(shape) != 2 or shape[0] != self.batch or shape[1] % self.hidden:
            return 0
        return shape[1] // self.hidden


def vector_axis(shape: Sequence[int]) -> str | None:
    """The axis of a vector by its shape, `(B, 1)` or `(1, k H)`; None if it does not say."""
    if len(shape) != 2 or 1 not in shape:
        return None
    return "rows" if shape[1] == 1 else "units"


_ELEMENTWISE = frozenset(
    "abs add and ceil clamp cos div eq erf exp exp2 floor ge gt integer_pow le log "
    "log2 logistic lt max min mul ne neg not one_minus_square or rem rsqrt select_n sign sin "
    "sqrt square sub tanh xor".split()
)
_CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "remat2": "jaxpr",
    "checkpoint": "jaxpr", "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr", "core_call": "call_jaxpr",
}  # fmt: skip
_SAME = ("copy", "copy_p", "stop_gradient", "pvary", "reshard")


class Evaluator:
    """The outputs of a traced step, each computed when it is asked for.

    Demand-driven, because the operand of a matmul is an output and its result an input of the
    same step: the result is asked for, and asks for its operand.
    """

    def __init__(
        self, traced: ClosedJaxpr, inputs: Sequence[Callable[[], Value]], sizes: Sizes
    ) -> None:
        self._sizes = sizes
        # operations that were already run: a pull-back that is called twice repeats itself
        self._found: dict[Any, list[Value]] = {}
        self._literals: dict[Any, Uniform] = {}
        self._scope = _Scope(self, traced, inputs)

    def output(self, i: int) -> Value:
        return self._scope.output(i)

    def input(self, i: int) -> Value:
        return self._scope.input(i)

    def literal(self, value: Any, dtype: Any) -> Uniform:
        key = (str(value), str(dtype))
        return self._literals.setdefault(key, Uniform(jnp.asarray(value, dtype)))

    def run(self, equation: Any, inputs: list[Value]) -> list[Value]:
        """The outputs of one equation, as values."""
        name, params = equation.primitive.name, equation.params
        avals = [v.aval for v in equation.outvars]
        key = (name, str(params), str(avals), tuple(map(id, inputs)))
        if key not in self._found:
            # the inputs are kept, so that their ids stay theirs
            self._found[key] = self._run(equation, inputs, avals)
            self._found[key, "inputs"] = inputs
        return self._found[key]

    def _run(self, equation: Any, inputs: list[Value], avals: list) -> list[Value]:
        name, params = equation.primitive.name, equation.params
        if name in ("add_any", *_ELEMENTWISE, "convert_element_type", "is_finite"):
            return [self._elementwise(equation, inputs, avals[0])]
        if name in _SAME:
            return [inputs[0]]
        if name in ("broadcast_in_dim", "reshape", "squeeze"):
            source = equation.invars[0].aval.shape
            return [self._shaped(name, params, inputs[0], source, avals[0])]
        if name == "concatenate":
            return [self._concatenated(inputs, equation, avals[0])]
        if name in ("slice", "split"):
            return self._sliced(name, params, inputs[0], equation.invars[0].aval)
        if name == "pad":
            return [self._padded(params, inputs, equation.invars[0].aval, avals[0])]
        raise NotByUnit(_refusal(equation))

    def _elementwise(self, equation: Any, inputs: list[Value], aval: Any) -> Value:
        apply = _applied(equation, aval.dtype)
        if all(isinstance(v, Uniform) for v in inputs):
            # mypy does not narrow the elements of a list by `all`
            return Uniform(apply(*(v.value for v in inputs)))  # type: ignore[union-attr]
        if count := self._sizes.columns(aval.shape):
            # an axis of size 1 is repeated
            wide: list[Any] = [
                _broadcast(v, count, self._sizes) if isinstance(v, Vector) else v
                for v in inputs
            ]
            columns = [v.pieces if isinstance(v, Columns) else v.value for v in wide]
            return Columns(_mapped(apply, columns))

        def pieces(axis: str) -> tuple[Any, ...]:
            given: list[Any] = list(inputs)
            each = [v.pieces(axis) if isinstance(v, Vector) else v.value for v in given]
            return _mapped(apply, each)

        axes = {v.axis for v in inputs if isinstance(v, Vector)} - {None}
        return Vector(pieces, axes.pop() if len(axes) == 1 else None)

    def _shaped(self, name, params, value, source, aval):
        sizes, target = self._sizes, aval.shape
        if isinstance(value, Uniform) or tuple(source) == tuple(target):
            return value
        if isinstance(value, Columns):
            raise NotByUnit(f"it changes the shape of a matrix of units to {target}")
        axis = value.axis
        if all(n == 1 for n in source):
            axis = "rows"  # of a batch of one: there are at least 64 units
        elif name == "broadcast_in_dim" and len(source) == 1 and len(target) == 2:
            axis = ("rows", "units")[params["broadcast_dimensions"][0]]
        else:
            axis = vector_axis(target) or axis
        count = sizes.columns(target)
        if len(target) == 2 and count:
            return _broadcast(Vector(value.pieces, axis), count, sizes)
        kept = [n for n in target if n != 1] == [n for n in source if n != 1]
        if not kept:
            raise NotByUnit(f"it changes the shape {source} to {target}")
        return Vector(value.pieces, axis)

    def _concatenated(self, inputs, equation, aval):
        axis = len(aval.shape) - 1
        if equation.params["dimension"] != axis:
            raise NotByUnit("it joins arrays along another axis than the units")
        widths = [v.aval.shape[-1] for v in equation.invars]
        if any(w % self._sizes.hidden for w in widths):
            raise NotByUnit(f"it joins arrays of {widths} units")
        counts = [w // self._sizes.hidden for w in widths]
        if axis == 0:
            return Vector(lambda _: _joined(inputs, "units"), "units")
        parts = [self.full(v, n) for v, n in zip(inputs, counts, strict=True)]
        return Columns(tuple(p for part in parts for p in part))

    def _sliced(self, name, params, value, aval):
        axis, hidden = len(aval.shape) - 1, self._sizes.hidden
        if name == "split":
            ends = [sum(params["sizes"][: i + 1]) for i in range(len(params["sizes"]))]
            bounds = list(zip([0, *ends], ends, strict=False))
            fits = params["axis"] == axis
        else:
            starts, limits = params["start_indices"], params["limit_indices"]
            bounds = [(starts[-1], limits[-1])]
            whole = all(
                s == 0 and e == n
                for s, e, n in zip(
                    starts[:-1], limits[:-1], aval.shape[:-1], strict=True
                )
            )
            fits = whole and set(params["strides"] or (1,)) == {1}
        if not fits or any(n % hidden for bound in bounds for n in bound):
            raise NotByUnit(
                f"it takes columns {bounds} of {aval.shape}, where only multiples of the "
                f"{hidden} units divide evenly"
            )
        return [_selected(value, int(a // hidden), int(b // hidden)) for a, b in bounds]

    def _padded(self, params, inputs, before, aval):
        config, hidden = params["padding_config"], self._sizes.hidden
        low, high, inside = config[-1]
        others = [n for dims in config[:-1] for n in dims]
        if any(others) or inside or low % hidden or high % hidden or min(low, high) < 0:
            raise NotByUnit(f"it pads {before.shape} by {config}")
        fill, rows, units = inputs[1], self._sizes.rows, self._sizes.units
        assert isinstance(fill, Uniform), "a padding value is a scalar"
        one = jnp.full((rows, units), fill.value.astype(aval.dtype))
        pieces = self.full(inputs[0], before.shape[-1] // hidden)
        return Columns(
            ((one,) * (low // hidden)) + pieces + ((one,) * (high // hidden))
        )

    def full(self, value: Value, count: int) -> tuple[Any, ...]:
        """The pieces of a matrix `(B, count H)`."""
        if isinstance(value, Columns):
            assert len(value.pieces) == count, (len(value.pieces), count)
            return value.pieces
        if isinstance(value, Vector):
            raise NotByUnit("a vector takes the place of a matrix of units")
        shape = (self._sizes.rows, self._sizes.units)
        return (jnp.full(shape, value.value),) * count


class _Scope:
    """The variables of one jaxpr."""

    def __init__(self, owner: Evaluator, traced: ClosedJaxpr, inputs: Sequence) -> None:
        self._owner = owner
        self._arguments, self._outputs = traced.jaxpr.invars, traced.jaxpr.outvars
        self._values: dict[Any, Value] = {}
        self._inputs = dict(zip(traced.jaxpr.invars, inputs, strict=True))
        self._makers = {v: e for e in traced.jaxpr.eqns for v in e.outvars}
        for variable, value in zip(traced.jaxpr.constvars, traced.consts, strict=True):
            if jnp.ndim(value):
                raise NotByUnit(
                    "it closes over an array: give it as one of the constants"
                )
            self._values[variable] = owner.literal(value, value.dtype)

    def input(self, i: int) -> Value:
        return self._read(self._arguments[i])

    def output(self, i: int) -> Value:
        return self._read(self._outputs[i])

    def _read(self, atom: Any) -> Value:
        if isinstance(atom, Literal):
            aval: Any = atom.aval
            return self._owner.literal(atom.val, aval.dtype)
        if atom not in self._values:
            if atom in self._inputs:
                self._values[atom] = self._inputs[atom]()
            else:
                self._run(self._makers[atom], atom)
        return self._values[atom]

    def _run(self, equation: Any, asked: Any) -> None:
        name = equation.primitive.name
        if name in _CALLS:
            inner = equation.params[_CALLS[name]]
            inner = inner if hasattr(inner, "consts") else ClosedJaxpr(inner, ())
            read = [lambda atom=atom: self._read(atom) for atom in equation.invars]
            scope = _Scope(self._owner, inner, read)
            i = equation.outvars.index(asked)
            self._values[asked] = scope.output(i)
            return
        outs = self._owner.run(equation, [self._read(a) for a in equation.invars])
        self._values.update(zip(equation.outvars, outs, strict=True))


def _applied(equation: Any, dtype: Any) -> Callable:
    """The operation on pieces, with bfloat16 computed in float32 and rounded, as XLA does."""
    primitive = (
        lax.add_p if equation.primitive.name == "add_any" else equation.primitive
    )
    params = {} if equation.primitive.name == "add_any" else equation.params
    narrow = lambda x: jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize < 4

    def apply(*pieces):
        if primitive is lax.convert_element_type_p:
            return _converted(pieces[0], dtype)
        exact = primitive is lax.select_n_p
        wide = [p.astype(jnp.float32) if narrow(p) and not exact else p for p in pieces]
        found = primitive.bind(*_shaped_alike(wide), **params)
        return found.astype(dtype) if found.dtype != dtype else found

    return apply


def _mapped(apply: Callable, each: list[Any]) -> tuple[Any, ...]:
    """The operation on each piece; what is not a tuple of pieces is one number."""
    count = next(len(e) for e in each if isinstance(e, tuple))
    at = lambda e, i: e[i] if isinstance(e, tuple) else e
    return tuple(apply(*(at(e, i) for e in each)) for i in range(count))


def _converted(piece: Any, dtype: Any) -> Any:
    if piece.dtype == jnp.bool_:
        one, zero = jnp.asarray(1, dtype), jnp.asarray(0, dtype)
        shaped = [jnp.full(piece.shape, x) for x in (zero, one)]
        return lax.select_n(piece, *shaped)
    return piece.astype(dtype) if piece.dtype != dtype else piece


def _shaped_alike(pieces: Sequence[Any]) -> list[Any]:
    """Scalars among pieces, broadcast: primitives do not broadcast."""
    shape = next((p.shape for p in pieces if p.ndim), ())
    return [p if p.shape == shape else jnp.full(shape, p) for p in pieces]


def _broadcast(vector: Vector, count: int, sizes: Sizes) -> Columns:
    if vector.axis is None:
        raise NotByUnit("it broadcasts a vector whose axis is unknown")
    dim = 0 if vector.axis == "rows" else 1
    shape = (sizes.rows, sizes.units)
    wide = tuple(
        lax.broadcast_in_dim(p, shape, (dim,)) for p in vector.pieces(vector.axis)
    )
    return Columns(wide * count if dim == 0 else wide)


def _joined(inputs: list[Value], axis: str) -> tuple[Any, ...]:
    if not all(isinstance(v, Vector) for v in inputs):
        raise NotByUnit("it joins vectors and scalars")
    # mypy does not narrow the elements of a list by `all`
    return tuple(p for v in inputs for p in v.pieces(axis))  # type: ignore[operator, union-attr]


def _selected(value: Value, start: int, end: int) -> Value:
    if isinstance(value, Uniform):
        return value
    if isinstance(value, Columns):
        return Columns(value.pieces[start:end])
    return Vector(lambda _: value.pieces("units")[start:end], "units")


def _refusal(equation: Any) -> str:
    shapes = [v.aval.str_short() for v in equation.invars]
    return (
        f"its step has the operation {equation.primitive.name} of {', '.join(shapes)}, which "
        "cannot be divided over units"
    )
