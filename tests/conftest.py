"""Every test runs strict: no silent rank or dtype promotion; warnings are errors."""

import jax
import pytest


jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def x64():
    """float64 for one test."""
    with jax.enable_x64(True):
        yield
