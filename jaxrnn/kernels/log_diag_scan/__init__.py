"""Positive element-wise linear recurrences, in log space."""

from ._reference import log_diag_scan_reference as log_diag_scan_reference
from ._scan import log_diag_scan as log_diag_scan
