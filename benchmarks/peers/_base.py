"""The interface of an adapter: a `Peer`, which builds a `Program` for each case."""

import abc
from importlib import metadata

from .. import verify
from ..cases import Case
from ..problem import Array, Cell, Problem
from ..verify import Answer, Verdict


class Program(abc.ABC):
    """One compiled case. Each figure runs once, and returns when it is done.

    Attributes:
        compile_seconds: time of tracing and compiling, by figure; empty where nothing is
            compiled.
        temporary_bytes: XLA's memory for outputs and gradients, without arguments and
            results; None for a library without XLA.
        note: a remark for readers, such as the strategy that was chosen.
    """

    compile_seconds: dict[str, float]
    temporary_bytes: int | None = None
    note: str = ""

    @abc.abstractmethod
    def run(self, figure: str) -> None:
        """Runs `forward`, `backward`, `update` or `stream` once."""

    def answer(self) -> Answer:
        """Outputs and gradients, in jaxrnn's layout."""
        raise NotImplementedError("this program computes no outputs")

    def updated(self) -> tuple[list[Cell], list[Cell]]:
        """Weights before and after one optimizer step."""
        raise NotImplementedError("this program updates no weights")

    def streamed(self, steps: int) -> Array:
        """`(steps, H)`: the outputs of the first sequence, one step at a time."""
        raise NotImplementedError("this program has no single step")

    def judge(
        self, case: Case, problem: Problem, reference: verify.Reference
    ) -> Verdict:
        """The gate: compares the functions that will be timed with the reference."""
        if case.single_steps:
            return verify.judge_stream(self.streamed(case.time), reference)
        got = verify.blocks(case, problem.lengths, self.answer())
        verdict = Verdict(verify.errors(got, reference.blocks), reference.bounds)
        if "update" in case.figures:
            verdict |= verify.judge_update(case, *self.updated(), reference.blocks)
        return verdict


class Peer(abc.ABC):
    """One contender.

    Attributes:
        title: its name for readers.
        distribution: the package whose version it has.
        spins: whether its threads wait for each other by spinning. They take ten times as
            long while other processes compute, so it is compiled and gated alone.
    """

    title: str
    distribution: str
    spins = False

    def version(self) -> str:
        """The version that is installed."""
        return metadata.version(self.distribution)

    def absent(self) -> str | None:
        """Why it cannot run on this machine; None if it can."""
        return None

    def computes(self, case: Case) -> Case:
        """The case itself, or the same case of a similar kind that this peer offers.

        Raises:
            NotImplementedError: with the reason, if the peer has neither.
        """
        return case

    @abc.abstractmethod
    def build(self, case: Case, problem: Problem) -> Program:
        """Converts the weights and compiles.

        Raises:
            NotImplementedError: with the reason, if the peer turns out not to run the case.
        """
