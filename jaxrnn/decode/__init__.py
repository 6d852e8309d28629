"""Decoding: from a layer's outputs to symbols, with pure functions over its `step`.

All functions work inside `jax.jit` and `jax.vmap`. Symbols are integers, time-major.
"""

from ._beam import beam_search as beam_search
from ._common import Beams as Beams
from ._common import Decoded as Decoded
from ._ctc import Labelling as Labelling
from ._ctc import ctc_greedy as ctc_greedy
from ._ctc_beam import ctc_beam_search as ctc_beam_search
from ._greedy import greedy as greedy
from ._sample import sample as sample
from ._scheduled import scheduled_sampling as scheduled_sampling
