"""`unroll` equals repeated calls of `step`: every layer, every option, value and gradients."""

from jaxrnn import testing
from jaxrnn.testing._laws import OPTIONS

from .helpers import COMBINATORS, GENERAL, LAYERS, each, example


@each("options", [sorted(o) for o in OPTIONS])
@each("layer", LAYERS)
def test_unroll_equals_steps_in_turn(layer, options):
    testing.check_unroll(layer, options, x=example(layer))


@each("layer", [GENERAL[2], GENERAL[-1], COMBINATORS[1], COMBINATORS[-1]])
def test_one_step_of_one_row(layer):
    testing.check_unroll(
        layer, ["lengths", "resets"], x=example(layer), time=1, batch=1
    )


@each("layer", LAYERS)
def test_padding_reaches_nothing(layer):
    testing.check_padding(layer, x=example(layer), time=5, batch=3)


@each("layer", LAYERS)
def test_chunks_equal_the_whole(layer):
    testing.check_chunks(layer, x=example(layer), time=63, batch=3)
