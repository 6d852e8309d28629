"""What an adapter gives: a `Peer`, which builds a `Program` for each case."""

import abc

from .. import verify
from ..cases import Case
from ..problem import Array, Cell, Problem
from ..verify import Answer, Verdict


class Program(abc.ABC):
    """One case, compiled and ready. Each figure runs once, and returns when it is done.

    Attributes:
        compile_seconds: tracing and compiling, by figure; empty where nothing is compiled.
        temporary_bytes: what XLA sets aside for outputs and gradients, beside arguments
            and results; None where XLA is not asked.
        note: what a reader should know, such as which strategy was picked.
    """

    compile_seconds: dict[str, float]
    temporary_bytes: int | None = None
    note: str = ""

    @abc.abstractmethod
    def run(self, figure: str) -> None:
        """One run of `forward`, `backward`, `update` or `stream`."""

    @abc.abstractmethod
    def answer(self) -> Answer:
        """Outputs and gradients, in jaxrnn's layout."""

    @abc.abstractmethod
    def updated(self) -> tuple[list[Cell], list[Cell]]:
        """Weights before and after one optimiser step."""

    @abc.abstractmethod
    def streamed(self, steps: int) -> Array:
        """`(steps, H)`: the outputs of row 0, one step at a time."""

    def judge(
        self, case: Case, problem: Problem, reference: verify.Reference
    ) -> Verdict:
        """The gate: what is timed is compared with the reference first."""
        if case.single_steps:
            return verify.judge_stream(self.streamed(case.time), reference)
        got = verify.blocks(case, problem.lengths, self.answer())
        verdicts = [Verdict(verify.errors(got, reference.blocks), reference.bounds)]
        if "update" in case.figures:
            verdicts.append(
                verify.judge_update(case, *self.updated(), reference.blocks)
            )
        return verify.together(*verdicts)


class Peer(abc.ABC):
    """One contender.

    Attributes:
        title: what a reader calls it.
        spins: whether its threads wait for each other by spinning: they take ten times as
            long while others are at work, so it is compiled and gated alone.
    """

    title: str
    spins = False

    @abc.abstractmethod
    def version(self) -> str:
        """The version that is installed."""

    def absent(self) -> str | None:
        """Why it cannot run on this machine at all; None if it can."""
        return None

    def computes(self, case: Case) -> Case:
        """The case itself, or the one that this contender can do in its place.

        Raises:
            NotImplementedError: with the reason, if there is neither.
        """
        return case

    @abc.abstractmethod
    def build(self, case: Case, problem: Problem) -> Program:
        """Converts the weights and compiles.

        Raises:
            NotImplementedError: with the reason, if it cannot after all.
        """
