"""Hardware code, arrays in and arrays out: what `jaxrnn.Fused()` runs."""

from ._native import release_workspace as release_workspace
