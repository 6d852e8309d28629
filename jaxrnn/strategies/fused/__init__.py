"""A layer in one kernel, for each platform that has kernels."""

from ._strategy import Fused as Fused
