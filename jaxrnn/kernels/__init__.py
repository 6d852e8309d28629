"""Arrays in, arrays out: the operations that recurrences are made of, and hardware code."""

from ._native import release_workspace as release_workspace
