"""Strategies execute a recurrence. They may change its cost, never values or gradients."""

from ._associative import Associative as Associative
from ._auto import Auto as Auto
from ._base import Strategy as Strategy
from ._checkpointed import Checkpointed as Checkpointed
from ._chunked import Chunked as Chunked
from ._cudnn import CuDNN as CuDNN
from ._platform import on_platform as on_platform
from ._scan import Scan as Scan
from ._sequence_parallel import SequenceParallel as SequenceParallel
from ._wavefront import Wavefront as Wavefront
from .fused import Fused as Fused
from .hoisted import Hoisted as Hoisted
from .newton._jacobians import BlockJacobian as BlockJacobian
from .newton._jacobians import DiagonalJacobian as DiagonalJacobian
from .newton._jacobians import FullJacobian as FullJacobian
from .newton._strategy import Newton as Newton
from .newton._strategy import Solution as Solution
