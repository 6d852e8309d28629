"""The diagonal linear recurrence."""

import jax


def linear(a, b, h0):
    """h_t = a_t h_{t-1} + b_t, element by element; a and b `(T, N)`, h0 `(N,)`."""

    def body(h, coefficients):
        a, b = coefficients
        h = a * h + b
        return h, h

    return jax.lax.scan(body, h0, (a, b))[1]
