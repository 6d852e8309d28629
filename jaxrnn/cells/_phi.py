"""The phi functions of exponential integrators, at full precision near zero."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array


_TERMS = 18  # for |z| < 1 the first omitted term is below 2**-53 of the sum


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def phi(order: int, z: Array) -> Array:
    """`phi_k(z) = sum_j z**j / (j + k)!`, real or complex: phi_1(z) = (exp(z) - 1) / z.

    For small z, differences of exponentials cancel, and their derivatives lose twice as
    many digits. Here values and derivatives of every order keep full precision:

        phi_0 = exp,    phi_k(z) = (phi_{k-1}(z) - 1 / (k - 1)!) / z,
        phi_k' = phi_k - k phi_{k+1}

    Reference: Hochbruck & Ostermann 2010, doi:10.1017/S0962492910000048.
    """
    # Both branches are computed for every z. Each gets a harmless argument where the other
    # is selected, so that neither divides by zero or overflows.
    small = jnp.abs(z) < 1
    divisor = jnp.where(small, jnp.ones_like(z), z)
    by_recurrence = jnp.exp(z)
    for k in range(order):
        by_recurrence = (by_recurrence - 1 / math.factorial(k)) / divisor
    inner = jnp.where(small, z, jnp.zeros_like(z))
    series = jnp.zeros_like(z)
    for j in reversed(range(_TERMS)):
        series = series * inner + 1 / math.factorial(j + order)
    return jnp.where(small, series, by_recurrence)


@phi.defjvp
def _phi_tangent(order, primals, tangents):
    # The derivative is given in phi functions, so that derivatives of every order use the
    # series near zero; differentiating the recurrence would cancel there.
    (z,), (dz,) = primals, tangents
    value = phi(order, z)
    return value, (value - order * phi(order + 1, z)) * dz
