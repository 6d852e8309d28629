"""The picture of a layer and of its unrolling in time, for learning and teaching."""

from typing import Any, NamedTuple

import jax

from .. import _check
from .._layer import Layer
from ..layers import Directions, Stack


WIDTH, HEIGHT = 1.7, 0.8
"""The size of a box, in units of the axis."""
ROW, LOSS = 1.9, 1.5
"""The distance between layers, and of the losses from the outputs of the last."""
INCHES = 0.62
"""The size of a unit in a figure of its own, which fits the sizes of the fonts."""
FORWARD, BACKWARD, FILL = "black", "tab:red", "#dce8f5"


class _Row(NamedTuple):
    """One layer of the picture; `state` has the names of the parts of its state."""

    name: str
    state: tuple[str, ...]
    number: str  # the number of the layer, a superscript; empty if there is one layer

    def symbols(self, t: Any) -> str:
        """The state at time t, such as `h_1, c_1`, without the dollars of mathtext."""
        shown = (s if len(s) == 1 else rf"\mathrm{{{s}}}" for s in self.state)
        return ",".join(f"{name}_{{{t}}}{self.number}" for name in shown)

    @property
    def width(self) -> float:
        """The width of the symbols, in symbols of one letter."""
        letters = sum(0.65 + 0.35 * len(name) for name in self.state)
        return letters + 0.6 * len(self.state) * bool(self.number)


class _Picture(NamedTuple):
    """The axis, what it shows, and where."""

    ax: Any
    rows: list[_Row]
    time: int

    @property
    def gap(self) -> float:
        """The distance between boxes, which the symbols of a state fit into."""
        return 0.9 + 0.45 * max(row.width for row in self.rows)

    def at(self, t: int) -> float:
        """The horizontal center of step t; 0 is that of the folded layer."""
        return 0.0 if t == 0 else 3.2 + 0.4 * self.gap + (self.gap + WIDTH) * t - WIDTH

    @property
    def top(self) -> float:
        """The upper edge of the last layer."""
        return ROW * (len(self.rows) - 1) + HEIGHT / 2

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """The left, right, lower and upper limit of the axis."""
        right = self.at(self.time) + WIDTH / 2 + self.gap + 0.2
        return -WIDTH / 2 - 0.3, right, -HEIGHT / 2 - 3.0, self.top + LOSS + 1.0


def draw_unrolled(layer: Layer, time: int = 4, *, ax: Any = None) -> Any:
    """Draws a layer, and to the right the same layer unrolled over several steps.

        s_t, y_t = layer.step(params, s_{t-1}, x_t),    L = L_1 + ... + L_T

    Black arrows are the forward pass: inputs come from below, states go from left to right,
    and each output has a loss. Red arrows are the gradient, which goes back through time. A
    `Stack` has a row of boxes for each layer; any other layer is one box. States have the
    names that the layer gives them, such as h and c of an LSTM.

    Args:
        layer: a layer that can take single steps.
        time: the number of steps to draw, at least 1.
        ax: a matplotlib axis; None for a figure of its own.

    Returns:
        The `matplotlib.figure.Figure`; `figure.savefig(path)` saves it.

    Raises:
        TypeError: if `layer` is not a layer, or `time` is not an integer.
        ValueError: if `time` is below 1.
        NotImplementedError: if the layer has no state, or reads backwards in time.

    Example:
        >>> import jaxrnn
        >>> from jaxrnn import diagnostics
        >>> figure = diagnostics.draw_unrolled(jaxrnn.LSTM(8, 64), time=3)
        >>> len(figure.axes)
        1
    """
    _check.check_layer(layer)
    rows = _rows(layer)
    if isinstance(time, bool) or not isinstance(time, int):
        raise TypeError(f"time is {time!r}: give the number of steps, such as 4.")
    if time < 1:
        raise ValueError(f"time is {time}: give at least 1 step.")
    picture = _Picture(ax, rows, time)
    if ax is None:
        picture = picture._replace(ax=_new_axis(picture))
    for i, row in enumerate(rows):
        _draw_row(picture, i, row)
    for t in range(time + 1):
        _draw_column(picture, t)
    _draw_words(picture)
    return picture.ax.figure


def _rows(layer: Layer) -> list[_Row]:
    """The layers of the picture, the lowest first."""
    layers = _flat(layer)
    rows = []
    for i, one in enumerate(layers, start=1):
        state = jax.eval_shape(lambda o=one: o.initial_state(o.init(jax.random.key(0))))
        parts = jax.tree.leaves(state, is_leaf=lambda s: isinstance(s, Directions))
        if any(isinstance(part, Directions) for part in parts):
            raise NotImplementedError(
                f"{one} also reads backwards in time, which this picture does not show: "
                "give a layer that can take single steps."
            )
        index = f"^{{({i})}}" if len(layers) > 1 else ""
        rows.append(_Row(_name(one), _names(state), index))
    if not any(row.state for row in rows):
        raise NotImplementedError(
            f"{layer} has no state, so there is nothing to unroll: give a layer with a "
            "recurrence."
        )
    return rows


def _flat(layer: Layer) -> list[Layer]:
    """The layers of a stack, and of stacks in it; a `SkipStack` has a step of its own."""
    if isinstance(layer, Stack) and type(layer).step is Stack.step:
        return [one for inner in layer.layers for one in _flat(inner)]
    return [layer]


def _name(layer: Layer) -> str:
    """The name of the class, and of the layer that it wraps below it."""
    inner = getattr(layer, "cell", None) or getattr(layer, "layer", None)
    own = str(layer).partition("(")[0]
    return f"{own}\n{_name(inner)}" if isinstance(inner, Layer) else own


def _names(state: Any) -> tuple[str, ...]:
    """The names of the parts of a state: h if it is one array, s if it is nested."""
    if not jax.tree.leaves(state):
        return ()
    if hasattr(state, "shape"):
        return ("h",)
    fields = getattr(state, "_fields", None)
    return ("s",) if fields is None else fields


def _draw_row(picture: _Picture, i: int, row: _Row) -> None:
    """The boxes of a layer, and the states and their gradients between them."""
    y = ROW * i
    for t in range(picture.time + 1):
        _box(picture.ax, picture.at(t), y, row.name)
    if not row.state:
        return
    _draw_loop(picture.ax, y, row)
    for t in range(picture.time + 1):
        right = picture.at(t + 1) - WIDTH / 2
        left = right - picture.gap
        symbols = row.symbols(t)
        _arrow(picture.ax, (left, y + 0.14), (right, y + 0.14), FORWARD)
        _text(picture.ax, (left + right) / 2, y + 0.36, f"${symbols}$", FORWARD)
        if t == picture.time:
            break
        several = f"({symbols})" if len(row.state) > 1 else symbols
        _arrow(picture.ax, (right, y - 0.14), (left, y - 0.14), BACKWARD)
        gradient = rf"$\partial L/\partial {several}$"
        _text(picture.ax, (left + right) / 2, y - 0.4, gradient, BACKWARD)


def _draw_loop(ax: Any, y: float, row: _Row) -> None:
    """The arrow from the folded layer back to itself."""
    from matplotlib.patches import FancyArrowPatch

    right = WIDTH / 2
    ax.add_patch(
        FancyArrowPatch(
            (right, y + 0.22), (right, y - 0.22), color=FORWARD, shrinkA=0, shrinkB=0,
            arrowstyle="-|>", mutation_scale=11, connectionstyle="arc3,rad=-2.2",
        )
    )  # fmt: skip
    ax.text(right + 0.75, y, f"${row.symbols('t')}$", va="center", fontsize=10)


def _draw_column(picture: _Picture, t: int) -> None:
    """The input, the outputs and the loss of one step; the folded layer has no loss."""
    ax, x, time = picture.ax, picture.at(t), t or "t"
    top = len(picture.rows) - 1
    side = 0.0 if t == 0 else 0.14
    _arrow(ax, (x, -HEIGHT / 2 - 0.7), (x, -HEIGHT / 2), FORWARD)
    _text(ax, x, -HEIGHT / 2 - 0.92, f"$x_{{{time}}}$", FORWARD)
    for i, row in enumerate(picture.rows):
        low = ROW * i + HEIGHT / 2
        high = low + (ROW - HEIGHT if i < top else LOSS - HEIGHT / 2)
        _arrow(ax, (x - side, low), (x - side, high), FORWARD)
        index = row.number if i < top else ""
        label = f"$y_{{{time}}}{index}$"
        _text(ax, x - side - 0.12, (low + high) / 2, label, FORWARD, ha="right")
        if t:
            _arrow(ax, (x + side, high), (x + side, low), BACKWARD)
    if t:
        _text(ax, x, picture.top + LOSS - 0.12, f"$L_{{{t}}}$", FORWARD)


def _draw_words(picture: _Picture) -> None:
    """The titles, the equations, and the limits of the axis."""
    ax, rows, time = picture.ax, picture.rows, picture.time
    left, right, bottom, top = picture.limits
    middle = (picture.at(1) + picture.at(time)) / 2
    losses = " + ".join(f"L_{{{t}}}" for t in range(1, time + 1))
    steps = f"unrolled over {time} step{'s' * (time > 1)}"
    _text(ax, 0.0, top - 0.3, "layer", FORWARD, fontsize=11)
    _text(ax, middle, top - 0.3, f"{steps},  $L = {losses}$", FORWARD, fontsize=11)
    one = len(rows) == len(rows[0].state) == 1
    s = rows[0].state[0] if one else "s"
    means = "" if one else f",  ${s}_t$: the whole state"
    lines = [
        (rf"${s}_t, y_t = \mathrm{{step}}(\theta, {s}_{{t-1}}, x_t)${means}", FORWARD),
        (
            rf"$\partial L/\partial {s}_t = \partial L_t/\partial {s}_t + "
            rf"(\partial {s}_{{t+1}}/\partial {s}_t)^\top\, \partial L/\partial {s}_{{t+1}}$",
            BACKWARD,
        ),
        (
            r"$\theta$ is the same at every step, and $\partial L/\partial\theta$ "
            "is a sum over all steps.",
            "0.3",
        ),
    ]
    for i, (line, color) in enumerate(lines):
        _text(ax, left + 0.3, bottom + 1.3 - 0.5 * i, line, color, ha="left")
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    ax.set_axis_off()


def _new_axis(picture: _Picture) -> Any:
    """The axis of a figure of its own."""
    from matplotlib.figure import Figure  # not needed for anything else

    left, right, bottom, top = picture.limits
    figure = Figure(figsize=(INCHES * (right - left), INCHES * (top - bottom)))
    return figure.add_axes((0, 0, 1, 1))


def _box(ax: Any, x: float, y: float, name: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = (x - WIDTH / 2 + 0.1, y - HEIGHT / 2 + 0.1)
    style: Any = {"boxstyle": "round,pad=0.1", "facecolor": FILL, "edgecolor": FORWARD}
    ax.add_patch(FancyBboxPatch(corner, WIDTH - 0.2, HEIGHT - 0.2, **style))
    longest = max(map(len, name.splitlines()))
    _text(ax, x, y, name, FORWARD, fontsize=min(10, 100 / longest))


def _arrow(ax: Any, start: tuple, end: tuple, color: str) -> None:
    style = {"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=style)


def _text(ax: Any, x: float, y: float, text: str, color: str, **how: Any) -> None:
    how = {"ha": "center", "va": "center", "fontsize": 10, **how}
    ax.text(x, y, text, color=color, **how)
