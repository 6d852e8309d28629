"""Recurrences as Pallas kernels for NVIDIA Hopper: compiled for it and simulated, never run.

`scan` is `lax.scan` whose body has matmuls with weights that stay in shared memory.
"""

from ._mosaic import missing as missing
from ._pieces import NotByUnit as NotByUnit
from ._plan import DoesNotFit as DoesNotFit
from ._plan import Plan as Plan
from ._plan import plan as plan
from ._scan import Matmul as Matmul
from ._scan import check as check
from ._scan import scan as scan
from ._scan import simulated as simulated
