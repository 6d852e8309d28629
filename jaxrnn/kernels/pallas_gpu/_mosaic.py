"""Mosaic GPU, JAX's language for kernels, imported when it is first used.

It needs a package that JAX itself does not (absl-py), and its import takes longer than that
of JAX. Its names differ between versions of JAX; those of JAX 0.12 are used.
"""

import importlib
from typing import Any

import jax


_NAME = "jax.experimental.pallas.mosaic_gpu"


def __getattr__(name: str) -> Any:
    # `from ._mosaic import missing` asks for `__path__` first
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_NAME), name)


def missing() -> str:
    """A reason why no kernel can be built here; empty if kernels can be."""
    version = tuple(int(n) for n in jax.__version__.split(".")[:2])
    if version < (0, 12):
        return f"its kernels for GPU need JAX 0.12, and this is JAX {jax.__version__}"
    try:
        importlib.import_module(_NAME)
    except ImportError as reason:
        return f"its kernels for GPU need a package that is missing: {reason}"
    return ""
