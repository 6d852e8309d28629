"""Hardware code, arrays in and arrays out: what `jaxrnn.Fused()` runs."""
