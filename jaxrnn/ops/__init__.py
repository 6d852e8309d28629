"""Functions of arrays: recurrences, each with a reference in NumPy, and pooling."""

from ._diag_scan import diag_scan as diag_scan
from ._linear_attention import chunked_delta as chunked_delta
from ._linear_attention import chunked_linear_attention as chunked_linear_attention
from ._log_diag_scan import log_diag_scan as log_diag_scan
from ._pool import last_pool as last_pool
from ._pool import max_pool as max_pool
from ._pool import mean_pool as mean_pool
from ._references import delta_reference as delta_reference
from ._references import diag_scan_reference as diag_scan_reference
from ._references import linear_attention_reference as linear_attention_reference
from ._references import log_diag_scan_reference as log_diag_scan_reference
