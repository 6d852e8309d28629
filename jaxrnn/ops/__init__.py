"""Recurrences as functions of arrays; each has a reference in NumPy."""

from ._diag_scan import diag_scan as diag_scan
from ._linear_attention import chunked_delta as chunked_delta
from ._linear_attention import chunked_linear_attention as chunked_linear_attention
from ._log_diag_scan import log_diag_scan as log_diag_scan
from ._references import delta_reference as delta_reference
from ._references import diag_scan_reference as diag_scan_reference
from ._references import linear_attention_reference as linear_attention_reference
from ._references import log_diag_scan_reference as log_diag_scan_reference
