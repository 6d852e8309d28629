"""The cases that are measured, and suites of them.

A case is one function: an equation with its sizes. Contenders compute it with weights in
their own layout. A contender that offers only a similar function, such as a GRU that resets
before the matmul, names the kind that it computes instead, and is gated against that.
"""

import dataclasses
import fnmatch
import functools
from dataclasses import dataclass


FIGURES = ("forward", "backward", "update")
"""The figures: outputs; outputs and every gradient; one optimizer step.

"stream", one time step at B = 1, is the only figure of its cases.
"""

STREAMED = 5
"""Number of single steps that the gate compares."""


@dataclass(frozen=True)
class Kind:
    """The weights of a cell's equation.

    Attributes:
        title: its name for readers.
        gates: one letter for each gate, in the order in which jaxrnn stacks them.
        vectors: parameters of shape `(H,)` besides W, U and b.
        fixed: the vectors that are zero, and whose gradients are left out.
        own: name of jaxrnn's class, for a cell that no peer has and whose parameters have
            other names; its strategies are compared with each other.
    """

    title: str
    gates: str = ""
    vectors: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    own: str = ""


_ELEMENTWISE = ("IndRNN", "ParaGRU", "ParaLSTM")
_LINEAR = ("LRU", "S5", "RGLRU", "MinGRU", "MinLSTM", "QRNN", "SRU")
_MATRIX = ("GLA", "MLSTM", "SSD", "DeltaNet", "GatedDeltaNet")

KINDS = {
    "lstm": Kind("LSTM", "ifgo"),
    "gru": Kind("GRU", "rzn", ("b_n",)),
    "gru_reset_before": Kind("GRU with the reset before the matmul", "rzn"),
    "gru_no_b_n": Kind("GRU without the bias b_n", "rzn", ("b_n",), fixed=("b_n",)),
    "elman": Kind("Elman", "n"),
    "elman_relu": Kind("Elman with ReLU", "n"),
    "peephole_lstm": Kind("LSTM with peepholes", "ifgo", ("p_i", "p_f", "p_o")),
    **{
        name.lower(): Kind(name, own=name)
        for name in (*_ELEMENTWISE, *_LINEAR, *_MATRIX)
    },
}

HEADS = 4
"""Number of heads, for cells that have heads."""


@dataclass(frozen=True)
class Case:
    """One function to be computed by every contender.

    Attributes:
        kind: a key of `KINDS`.
        time, batch, inputs, hidden: T, B, I and H.
        layers: number of layers.
        bidirectional: whether each layer has two directions.
        padded: lengths from T down to 1, so that half of the steps are padding.
        dtype: "float32" or "bfloat16".
        figures: the figures; "stream" is always the only one, since it runs on one core.
        compile_time: whether compiling is timed as well. Contenders are then compiled one
            after the other, and again in each process.
    """

    kind: str
    time: int
    batch: int
    inputs: int
    hidden: int
    layers: int = 1
    bidirectional: bool = False
    padded: bool = False
    dtype: str = "float32"
    figures: tuple[str, ...] = FIGURES
    compile_time: bool = True

    @property
    def name(self) -> str:
        """`lstm-128x32x256x256`, with anything unusual at the end; or `lstm-step-256x256`."""
        shape = f"{self.time}x{self.batch}x" if not self.single_steps else "step-"
        parts = [self.kind, f"{shape}{self.inputs}x{self.hidden}"]
        parts += [f"{self.layers}-layers"] if self.layers > 1 else []
        parts += ["bidirectional"] if self.bidirectional else []
        parts += ["padded"] if self.padded else []
        parts += [self.dtype] if self.dtype != "float32" else []
        return "-".join(parts)

    @property
    def single_steps(self) -> bool:
        """Whether single time steps are the only figure."""
        return self.figures == ("stream",)

    @property
    def directions(self) -> int:
        """Number of directions of a layer."""
        return 2 if self.bidirectional else 1

    def layer_inputs(self, layer: int) -> int:
        """Number of features that a layer reads."""
        return self.inputs if layer == 0 else self.directions * self.hidden

    def of_kind(self, kind: str) -> "Case":
        """The same sizes with another equation."""
        return dataclasses.replace(self, kind=kind)


def case_from_json(fields: dict) -> Case:
    """The case that `dataclasses.asdict` turned into `fields`."""
    return Case(**{**fields, "figures": tuple(fields["figures"])})


_SHAPES = (
    (128, 32, 256, 256),
    (256, 16, 512, 512),
    (1000, 8, 64, 64),
    (64, 128, 512, 512),
    (512, 1, 128, 128),
    (35, 20, 650, 650),
    (100, 64, 128, 1024),
)

_BARE = ("forward", "backward")


def steps(kind: str, inputs: int, hidden: int) -> Case:
    """Single steps of one cell."""
    return Case(kind, STREAMED, 1, inputs, hidden, figures=("stream",))


def _steps(
    kinds: tuple[str, ...], shapes: tuple[tuple[int, ...], ...]
) -> tuple[Case, ...]:
    """Single steps of each kind, for each pair of I and H."""
    sizes = dict.fromkeys(shape[2:] for shape in shapes)
    return tuple(steps(kind, *size) for kind in kinds for size in sizes)


def _quick() -> tuple[Case, ...]:
    """Eight minutes: everything for one LSTM, forward and backward for the others."""
    first, *rest = _SHAPES[:5]
    bare = functools.partial(Case, figures=_BARE, compile_time=False)
    return (
        Case("lstm", *first),
        *(bare("lstm", *shape) for shape in rest),
        *(bare("gru", *shape) for shape in (first, *rest)),
        *_steps(("lstm",), (first,)),
    )


def _full() -> tuple[Case, ...]:
    kinds = ("lstm", "gru", "elman")
    return (
        *(Case(kind, *shape) for shape in _SHAPES for kind in kinds),
        Case("lstm", 128, 32, 256, 256, layers=2, bidirectional=True),
        Case("lstm", 128, 32, 256, 256, padded=True),
        Case("gru", 128, 32, 256, 256, padded=True),
        Case("lstm", 10_000, 8, 64, 128),
        Case("peephole_lstm", 128, 32, 256, 256),
        *_steps((*kinds, "peephole_lstm"), _SHAPES),
    )


def _gpu() -> tuple[Case, ...]:
    """The shape for which others publish the times of fused kernels.

    bfloat16 has no optimizer step: the updates are smaller than the resolution of the
    weights, so they could not be gated.
    """
    shape = (1024, 16, 768, 768)
    return (
        Case("lstm", *shape),
        Case("gru", *shape),
        Case("lstm", *shape, dtype="bfloat16", figures=_BARE),
        Case("gru", *shape, dtype="bfloat16", figures=_BARE),
        *_steps(("lstm", "gru"), (shape,)),
    )


def _strategies() -> tuple[Case, ...]:
    """Every family of cells, with long sequences, for every strategy that runs it."""
    shapes = {
        _ELEMENTWISE: ((8192, 1, 16, 16), (8192, 1, 256, 256), (1024, 8, 64, 64)),
        _LINEAR: ((2048, 8, 256, 256),),
        _MATRIX: ((4096, 1, 256, 256), (4096, 1, 512, 512)),
    }
    return tuple(
        Case(name.lower(), *shape, figures=_BARE)
        for names, sizes in shapes.items()
        for name in names
        for shape in sizes
    )


def _smoke() -> tuple[Case, ...]:
    """Every kind of case and every figure, but not all combinations."""
    shape = (7, 3, 5, 4)
    return (
        Case("lstm", *shape),
        Case("gru", *shape, figures=_BARE, compile_time=False),
        Case("elman", *shape, figures=_BARE),
        Case("lstm", *shape, layers=2, bidirectional=True, figures=_BARE),
        Case("lstm", *shape, padded=True, figures=_BARE),
        Case("peephole_lstm", *shape, figures=_BARE),
        *(Case(kind, 7, 3, 4, 4, figures=_BARE) for kind in ("paragru", "lru", "gla")),
        *_steps(("lstm", "gru", "elman", "peephole_lstm"), (shape,)),
    )


SUITES = {
    "quick": _quick(),
    "full": _full(),
    "strategies": _strategies(),
    "gpu": _gpu(),
    "smoke": _smoke(),
}


def select(suite: str, patterns: tuple[str, ...] = ()) -> tuple[Case, ...]:
    """The cases of a suite whose names match any of the patterns; all without patterns.

    Raises:
        ValueError: if no case matches a pattern.
    """
    cases = SUITES[suite]
    for pattern in patterns:
        if not any(fnmatch.fnmatch(case.name, pattern) for case in cases):
            names = ", ".join(case.name for case in cases)
            raise ValueError(f"no case of {suite!r} matches {pattern!r}: {names}")
    if not patterns:
        return cases
    return tuple(c for c in cases if any(fnmatch.fnmatch(c.name, p) for p in patterns))
