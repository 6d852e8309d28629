"""Gradient methods: which derivative of a loss over time is returned.

Exact: `BPTT`, `ForwardMode`, `RTRL`, `DiagonalRTRL`. Truncated: `TBPTT`. Approximate: `SnAp`,
`UORO`, `KFRTRL`, `RFLO`, `EProp`, `Immediate`. `value_and_grad` takes any of them; each but
`BPTT` also runs online, by `init` and `update`.
"""

from ._base import Method as Method
from ._base import Update as Update
from ._bptt import BPTT as BPTT
from ._bptt import ForwardMode as ForwardMode
from ._eprop import RFLO as RFLO
from ._eprop import EProp as EProp
from ._eprop import Feedback as Feedback
from ._eprop import GivenFeedback as GivenFeedback
from ._eprop import RandomFeedback as RandomFeedback
from ._eprop import Symmetric as Symmetric
from ._immediate import Immediate as Immediate
from ._kf_rtrl import KFRTRL as KFRTRL
from ._rtrl import RTRL as RTRL
from ._rtrl import DiagonalRTRL as DiagonalRTRL
from ._rtrl import SnAp as SnAp
from ._tbptt import TBPTT as TBPTT
from ._uoro import UORO as UORO
from ._value_and_grad import value_and_grad as value_and_grad
