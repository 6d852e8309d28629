"""`Newton` solves all time steps of a nonlinear recurrence together, by Newton's method."""

from ._jacobians import BlockJacobian as BlockJacobian
from ._jacobians import DiagonalJacobian as DiagonalJacobian
from ._jacobians import FullJacobian as FullJacobian
from ._strategy import Newton as Newton
from ._strategy import Solution as Solution
