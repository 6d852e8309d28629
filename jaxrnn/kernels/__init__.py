"""The C++ kernels of recurrences, and their specification in plain JAX."""

from ._native import release_workspace as release_workspace
