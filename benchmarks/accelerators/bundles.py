"""Static VLIW bundles of a TPU program: the instructions that its kernels are made of.

A bundle takes at least one cycle. Stalls and waits for memory are not in the count, and a
kernel with a loop inside counts the loop's body once, so these figures are lower bounds.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .hlo import Instruction, Module


@dataclass(frozen=True)
class Bundles:
    """Static bundles of a program's loops, for each time step.

    Attributes:
        forward, backward: those of the loops of the forward and the backward pass.
        whole: False if a kernel has a loop inside, so that its count is a lower bound.
    """

    forward: float
    backward: float
    whole: bool


def dump_arguments(folder: Path) -> str:
    """The value of LIBTPU_INIT_ARGS that makes libtpu write its last schedule there."""
    return (
        f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true "
        "--xla_jf_dump_llo_pass_label_regex=final_bundles"
    )


@contextmanager
def dump_folder() -> Iterator[Path]:
    """A temporary folder for the dump of one program at a time."""
    with tempfile.TemporaryDirectory(prefix="bundles-") as folder:
        yield Path(folder)


def read_dump(folder: Path) -> dict[str, int]:
    """The scheduled bundles of each operation of a compiled program, from libtpu's dump."""
    found = {}
    for file in folder.glob("*-schedule-analysis_final_bundles.txt"):
        # <time>-<operation>-<number>-schedule-analysis_final_bundles.txt
        name = re.fullmatch(r"\d+-(.+)-\d+-schedule-analysis_final_bundles", file.stem)
        count = re.search(r"non empty scheduled bundles:\s*(\d+)", file.read_text())
        if name and count:
            found[name[1]] = int(count[1])
    return found


def bundles_of(module: Module, dump: dict[str, int], time: int) -> Bundles:
    """The bundles of all loops of a program over `time` steps, for each step."""
    sums = {"forward": 0.0, "backward": 0.0}
    whole = True
    for loop, operation in module.in_loops():
        count = dump.get(operation.name, 0)
        whole &= count == 0 or _runs_once(operation)
        # JAX names the operations of a backward pass after the transform that made it
        part = "backward" if "transpose(" in _origin(loop.body.instructions) else ""
        sums[part or "forward"] += count * loop.total / time
    return Bundles(round(sums["forward"]), round(sums["backward"]), whole)


def _runs_once(operation: Instruction) -> bool:
    """Whether a kernel is straight-line code: its iteration bounds are all 1."""
    found = re.search(r'"iteration_bounds":\[([^\]]*)\]', operation.rest)
    return found is None or set(found[1].replace('"', "").split(",")) <= {"1", ""}


def _origin(instructions: list[Instruction]) -> str:
    return " ".join(
        found[1]
        for i in instructions
        if (found := re.search(r'op_name="([^"]*)"', i.rest))
    )
