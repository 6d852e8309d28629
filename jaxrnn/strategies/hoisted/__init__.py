"""The schedule of cuDNN, derived from a cell: what needs no loop leaves it."""

from ._strategy import Hoisted as Hoisted
