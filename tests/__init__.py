"""The tests: one file per law, over the tables in helpers.py."""

from . import typecheck as typecheck
