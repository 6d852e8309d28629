"""A scan in the vector memory (VMEM) of a TPU, written in Pallas."""

import importlib
from typing import TYPE_CHECKING, Any

from ._vmem import DoesNotFit as DoesNotFit


if TYPE_CHECKING:
    from ._scan import CannotLower as CannotLower
    from ._scan import scan as scan


def __getattr__(name: str) -> Any:
    # importing Pallas for TPU takes a third of a second, which no other platform needs
    if name not in ("CannotLower", "scan"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("._scan", __name__), name)
