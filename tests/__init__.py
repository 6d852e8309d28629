"""The tests: one file a law, over the tables in helpers.py."""

from . import typecheck as typecheck
