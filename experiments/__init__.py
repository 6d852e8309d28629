"""Experiments with jaxrnn: one folder per question, with its results."""
