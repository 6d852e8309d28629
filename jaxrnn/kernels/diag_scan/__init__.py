"""Element-wise linear recurrences, `h_t = a_t h_{t-1} + b_t`."""

from ._reference import diag_scan_reference as diag_scan_reference
from ._scan import diag_scan as diag_scan
