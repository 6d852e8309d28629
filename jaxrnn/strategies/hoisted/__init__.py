"""The schedule of cuDNN for any cell: matmuls that need no loop are moved out of it."""

from ._strategy import Hoisted as Hoisted
