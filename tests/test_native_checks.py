"""Direct calls of the kernels with wrong arguments raise an error and touch no memory."""

import jax
import jax.numpy as jnp
import pytest

from jaxrnn.kernels import _native


T, B, X, H = 3, 2, 4, 5
OPS = _native.ops()


def array(*shape, dtype=jnp.float32):
    return jnp.ones(shape, dtype)


def gru(**changes):
    """The arguments of the kernel of a GRU with the reset before the matmul."""
    arrays = {
        "x": array(T, B, X),
        "h0": array(B, H),
        "start_h": array(H),
        "w": array(X, 3 * H),
        "u": array(H, 3 * H),
        "b": array(3 * H),
        "valid": array(0, 0, dtype=bool),
        "reset": array(T, B, dtype=bool),
    }
    return list({**arrays, **changes}.values())


RESULTS = [array(T, B, H), array(B, H)]
BACK = [*gru(), array(T, B, H), array(T, B, 3 * H), array(T, B, H), array(B, H)]
GRADIENTS = gru()[:6]

# handler, arguments, results, attributes, and a part of the error
WRONG = {
    "bool": ("forward", gru(x=array(T, B, X, dtype=bool)), RESULTS, {}, "x is bool"),
    "half": (
        "forward",
        gru(w=array(X, 3 * H, dtype=jnp.float16)),
        RESULTS,
        {},
        "float16",
    ),
    "rank": ("forward", gru(x=array(T, X)), RESULTS, {}, r"\(T, B, I\) is needed"),
    "batch": ("forward", gru(h0=array(7, H)), RESULTS, {}, r"h0 is float32\[7,5\]"),
    "no steps": ("forward", gru(x=array(0, B, X)), RESULTS, {}, "at least one step"),
    "u": ("forward", gru(u=array(H, 2 * H)), RESULTS, {}, r"float32\[5,15\] is needed"),
    "mark": ("forward", gru(reset=array(T, B)), RESULTS, {}, "reset is float32"),
    "cell": ("forward", gru(), RESULTS, {"cell": len(OPS)}, "no cell"),
    "negative": ("forward", gru(), RESULTS, {"cell": -1}, "no cell -1"),
    "few": ("forward", gru()[:-1], RESULTS, {}, "reset is missing, of 7 arguments"),
    "many": ("forward", [*gru(), array(1)], RESULTS, {}, "9 arguments are given"),
    "result": ("forward", gru(), [array(T, B, 1), RESULTS[1]], {}, "ys is"),
    "residuals": ("forward", gru(), RESULTS, {"residuals": True}, "saved is missing"),
    "saved": ("backward", [*BACK[:9], array(1), *BACK[10:]], GRADIENTS, {}, "saved is"),
    "d_u": ("backward", BACK, [*GRADIENTS[:4], array(0), GRADIENTS[5]], {}, "d_u is"),
    "linear": (
        "linear",
        [array(T, 2), array(T, 2), array(3)],
        [array(T, 2)],
        {},
        "axis",
    ),
    "b": ("linear", [array(T, 2), array(9), array(2)], [array(T, 2)], {}, "b is"),
    "hs": ("linear", [array(T, 2)] * 2 + [array(2)], [array(2, 2)], {}, "hs is"),
    "d_a": (
        "linear_backward",
        [array(T, 2), array(T, 2), array(2), array(T, 2)],
        [array(T, 2, dtype=jnp.int32), array(T, 2), array(2)],
        {},
        "d_a is int32",
    ),
}


def call(handler, args, results, attributes):
    cell = {"cell": OPS["gru_before"].code}
    given = {"forward": {**cell, "residuals": False}, "backward": cell}
    attributes = {**given.get(handler, {"cuts": False}), **attributes}
    shapes = [jax.ShapeDtypeStruct(r.shape, r.dtype) for r in results]
    run = jax.ffi.ffi_call(f"jaxrnn_{handler}", shapes)
    return jax.block_until_ready(run(*args, **attributes))


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_call_is_an_error_in_words(wrong):
    *given, words = WRONG[wrong]
    with pytest.raises(jax.errors.JaxRuntimeError, match=f"INVALID_ARGUMENT.*{words}"):
        call(*given)


def test_right_calls_run():
    """Without their one error, the calls of the table above run."""
    call("forward", gru(), RESULTS, {})
    call("backward", BACK, GRADIENTS, {})


def test_without_rows_there_is_nothing_to_do():
    """Gradients that are sums over an empty batch are zero."""
    empty = {"x": array(T, 0, X), "h0": array(0, H), "reset": array(0, 0, dtype=bool)}
    back = [array(T, 0, H), array(T, 0, 3 * H), array(T, 0, H), array(0, H)]
    grads = call("backward", [*gru(**empty), *back], gru(**empty)[:6], {})
    assert all((grad == 0).all() for grad in grads) and grads[3].shape == (X, 3 * H)
    hs = call("linear", [array(T, 0), array(T, 0), array(0)], [array(T, 0)], {})
    assert hs[0].shape == (T, 0)
