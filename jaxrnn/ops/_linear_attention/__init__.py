"""Linear attention and the delta rule, which have matrix states, in chunks of steps."""

from ._over_chunks import OUTPUTS as OUTPUTS
from ._over_chunks import chunked_delta as chunked_delta
from ._over_chunks import chunked_linear_attention as chunked_linear_attention
from ._over_chunks import over_chunks as over_chunks
