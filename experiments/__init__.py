"""Experiments with jaxrnn: one question a folder, its results beside it."""
