"""Random combinations of everything that `unroll` takes, against single steps."""

import jax
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as draw

from jaxrnn import testing, unroll
from jaxrnn.testing._case import make_case, value_and_grads

from .helpers import LAYERS, STRATEGIES, example


def examples(count: int) -> settings:
    """The settings: `count` examples, the same in every run, without a limit of time."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=count, deadline=None, derandomize=True, suppress_health_check=slow
    )


@draw.composite
def calls(pick):
    """A layer, a strategy, sizes, and any of the options."""
    time, batch = pick(draw.integers(1, 9)), pick(draw.integers(1, 4))
    lengths = draw.lists(draw.integers(0, time), min_size=batch, max_size=batch)
    rows = draw.lists(draw.booleans(), min_size=batch, max_size=batch)
    resets = draw.lists(rows, min_size=time, max_size=time)
    options = {"reverse": pick(draw.booleans())}
    if pick(draw.booleans()):
        kind = pick(draw.sampled_from([np.int8, np.int32, np.uint8]))
        options["lengths"] = np.asarray(pick(lengths), kind)
    if pick(draw.booleans()):
        options["resets"] = np.asarray(pick(resets))
    if pick(draw.booleans()):
        options["mask"] = np.asarray(pick(resets))
    layer = pick(draw.sampled_from(LAYERS))
    return layer, pick(draw.sampled_from(STRATEGIES)), time, batch, options


@examples(40)
@given(call=calls(), fresh=draw.booleans(), seed=draw.integers(0, 99))
def test_values(call, fresh, seed):
    layer, strategy, time, batch, options = call
    with jax.enable_x64(True):
        case = make_case(layer, time, batch, seed, example(layer))
        state = None if fresh else case.state
        got = unroll(layer, case.params, case.xs, state, strategy=strategy, **options)
        want = testing.reference(layer, case.params, case.xs, state, **options)
        testing.assert_close("unroll", str(call), got, want, 1e-9)


@examples(15)
@given(call=calls(), seed=draw.integers(0, 99))
def test_gradients(call, seed):
    layer, strategy, time, batch, options = call
    with jax.enable_x64(True):
        case = make_case(layer, time, batch, seed, example(layer))

        def fast(layer, params, xs, state):
            return unroll(layer, params, xs, state, strategy=strategy, **options)

        def slow(layer, params, xs, state):
            return testing.reference(layer, params, xs, state, **options)

        got = value_and_grads(fast, case)
        want = value_and_grads(slow, case, compiled=False)
        testing.assert_close("unroll", str(call), got, want, 1e-9)


@examples(15)
@given(call=calls(), cut=draw.integers(0, 9), seed=draw.integers(0, 99))
def test_chunks_of_any_size(call, cut, seed):
    """Forward, under any options: carrying the state from chunk to chunk is exact."""
    layer, strategy, time, batch, options = call
    if "Bidirectional" in str(layer):
        return
    cut = min(cut, time)
    marks = {k: v for k, v in options.items() if k in ("resets", "mask")}
    with jax.enable_x64(True):
        case = make_case(layer, time, batch, seed, example(layer))
        want = testing.reference(layer, case.params, case.xs, case.state, **marks)
        state, parts = case.state, []
        for part in (slice(0, cut), slice(cut, time)):
            if part.start == part.stop:
                continue
            state, ys = unroll(
                layer,
                case.params,
                case.xs[part],
                state,
                **{name: mark[part] for name, mark in marks.items()},
                strategy=strategy,
            )
            parts.append(np.asarray(ys))
        got = state, np.concatenate(parts)
        testing.assert_close("chunks", str(call), got, want, 1e-9)
