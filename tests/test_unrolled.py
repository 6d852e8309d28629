"""The picture of a layer unrolled in time."""

import jax
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

import jaxrnn
from jaxrnn import GRU, LSTM, Elman, Stack, diagnostics

from .helpers import each


def texts(figure: Figure) -> list[str]:
    figure.canvas.draw()  # mathtext is parsed here
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def boxes(figure: Figure) -> int:
    patches = figure.axes[0].patches
    return sum(isinstance(patch, FancyBboxPatch) for patch in patches)


STACK = Stack((LSTM(3, 4), GRU(4, 5)))
LAYERS = [
    (Elman(3, 4), 1, "h_{0}"),
    (LSTM(3, 4), 1, "h_{0},c_{0}"),
    (jaxrnn.LRU(3, 4), 1, "h_{0}"),
    (jaxrnn.MLSTM(3, 4, heads=2), 1, r"\mathrm{memory}_{0},\mathrm{scale}_{0}"),
    (jaxrnn.LearnedState(GRU(3, 4)), 1, "h_{0}"),
    (STACK, 2, "h_{0}^{(1)},c_{0}^{(1)}"),
    (Stack((jaxrnn.Embedding(7, 3), STACK, jaxrnn.Dense(5, 2))), 4, "h_{0}^{(3)}"),
    (jaxrnn.SkipStack((GRU(3, 4), GRU(7, 4))), 1, "s_{0}"),
]


@each("layer,rows,state", LAYERS)
def test_each_layer_has_a_row_of_boxes_and_the_names_of_its_state(layer, rows, state):
    figure = diagnostics.draw_unrolled(layer, time=3)
    assert boxes(figure) == rows * (1 + 3)
    assert f"${state}$" in texts(figure)


@pytest.mark.parametrize("time", [1, 5])
def test_the_paths_of_states_losses_and_gradients(time):
    found = texts(diagnostics.draw_unrolled(LSTM(3, 4), time))
    for t in range(time + 1):
        assert f"$h_{{{t}}},c_{{{t}}}$" in found
        gradient = rf"$\partial L/\partial (h_{{{t}}},c_{{{t}}})$"
        assert (gradient in found) == (t < time)
        assert (f"$L_{{{t}}}$" in found) == (f"$x_{{{t}}}$" in found) == (t > 0)
    assert found.count("LSTM") == 1 + time


@pytest.mark.parametrize(
    "layer",
    [Elman(3, 4), jaxrnn.SLSTM(3, 4, heads=2), jaxrnn.MLSTM(3, 4, heads=2), STACK],
)
def test_no_label_covers_another(layer):
    figure = diagnostics.draw_unrolled(layer)
    figure.canvas.draw()
    frame = figure.bbox
    labels = [text for text in figure.axes[0].texts if text.get_text()]
    places = [text.get_window_extent() for text in labels]
    for i, place in enumerate(places):
        assert frame.contains(*place.min) and frame.contains(*place.max), labels[i]
        assert place.count_overlaps(places) == 1, labels[i]


def test_a_given_axis_is_used():
    figure = Figure()
    ax = figure.add_subplot()
    assert diagnostics.draw_unrolled(GRU(3, 4), 2, ax=ax) is figure
    assert len(ax.patches) > 3


BAD = {
    "no steps": (lambda: diagnostics.draw_unrolled(GRU(3, 4), 0), ValueError, "at least 1"),
    "a boolean": (lambda: diagnostics.draw_unrolled(GRU(3, 4), True), TypeError, "True"),
    "no memory": (
        lambda: diagnostics.draw_unrolled(jaxrnn.Dense(3, 4)),
        NotImplementedError, "has no state",
    ),
    "two directions": (
        lambda: diagnostics.draw_unrolled(Stack((jaxrnn.Bidirectional(GRU(3, 4)),))),
        NotImplementedError, "backwards in time",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


def test_nothing_is_computed():
    """The states are known by shapes alone, even those of a large layer."""
    before = len(jax.live_arrays())
    diagnostics.draw_unrolled(LSTM(4096, 4096), 2)
    assert len(jax.live_arrays()) <= before + 1  # a key
