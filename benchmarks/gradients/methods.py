"""The contenders: gradient methods, the cell that each runs on, and what gates them."""

from dataclasses import dataclass
from typing import Any

import jaxrnn
from jaxrnn.gradients import Method, Symmetric


STEPS = 16
"""Time steps of a sequence; the batch has one sequence."""
SIZES = (16, 64, 256)
"""Units, and features of the input."""
MOST = 1e12
"""Multiplications of a call above which a method is not run."""


@dataclass(frozen=True)
class Contender:
    """A method, its cell and its rule.

    Attributes:
        title: its name for readers.
        method: the method; None for one of another library.
        cell: the class of the cell.
        rule: the method of jaxrnn that gives the same gradient, in float64; the gate
            compares with it. None for random methods: their value alone is compared.
        powers: the multiplications of a step are k^a p^b, (a, b).
        other: the name of the same rule in `benchmarks.peers._braintrace`.
    """

    title: str
    method: Method | None
    rule: Method | None
    cell: str = "GRU"
    powers: tuple[int, int] = (0, 1)
    other: str = ""

    def layer(self, units: int) -> jaxrnn.Layer:
        """The layer of a size."""
        if self.cell == "MinGRU":
            return jaxrnn.MinGRU(units, units)
        return getattr(jaxrnn, self.cell)(units, units)


def _own(title: str, method: Method, **options: Any) -> Contender:
    rule = None if method.random else jaxrnn.BPTT() if method.exact else method
    return Contender(title, method, rule, **options)


REFERENCE = "BPTT"
METHODS = {
    c.title: c
    for c in (
        _own(REFERENCE, jaxrnn.BPTT()),
        _own("TBPTT(1, 8)", jaxrnn.TBPTT(1, 8)),
        _own("TBPTT(8)", jaxrnn.TBPTT(8)),
        _own("ForwardMode", jaxrnn.ForwardMode(), powers=(0, 2)),
        _own("RTRL", jaxrnn.RTRL(), powers=(2, 1)),
        _own("DiagonalRTRL", jaxrnn.DiagonalRTRL(), cell="MinGRU"),
        _own("SnAp(1)", jaxrnn.SnAp(1)),
        _own("UORO", jaxrnn.UORO()),
        _own("KFRTRL", jaxrnn.KFRTRL()),
        _own("EProp", jaxrnn.EProp()),
        _own("RFLO", jaxrnn.RFLO(Symmetric()), cell="CTRNN"),
        _own("Immediate", jaxrnn.Immediate()),
    )
}
"""Every method of the library, by title."""

_THEIRS = (
    ("SnAp(2)", jaxrnn.BPTT(), (2, 1)),
    ("SnAp(1)", jaxrnn.SnAp(1), (0, 1)),
    ("D_RTRL", jaxrnn.EProp(), (0, 1)),
    ("EProp", jaxrnn.EProp(), (0, 1)),
    ("UORO", None, (0, 1)),
)

BRAINTRACE = {
    **{
        title: METHODS[title]
        for title in (REFERENCE, "RTRL", "SnAp(1)", "EProp", "UORO")
    },
    **{
        f"braintrace {name}": Contender(
            f"braintrace {name}", None, rule, powers=powers, other=name
        )
        for name, rule, powers in _THEIRS
    },
}
"""The rules that both libraries have, by title.

braintrace's `D_RTRL` and `EProp` give the gradient of jaxrnn's `EProp`, and its `SnAp(2)`,
whose pattern is full for a GRU, the exact one.
"""


def contender(title: str) -> Contender:
    """The contender of a title."""
    return (METHODS | BRAINTRACE)[title]


def reference_of(one: Contender) -> str:
    """The title of the contender whose rule, in float64, is the reference of this one."""
    rule = one.rule or jaxrnn.BPTT()
    same = lambda c: c.cell == one.cell and c.rule == rule
    return next(c.title for c in (METHODS | BRAINTRACE).values() if same(c))
