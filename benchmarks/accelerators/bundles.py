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


def read_kernels(folder: Path) -> dict[str, float]:
    """The bundles of a time step of each kernel of `Fused`, from libtpu's dump.

    Such a kernel has a loop over blocks of time steps, and in it a loop over the steps of a
    block, of which one iteration runs several steps.
    """
    found = {}
    for file in folder.glob("*-jaxrnn_scan*-final_bundles.txt"):
        name = re.fullmatch(r"\d+-(jaxrnn_scan[.\d]*)-\d+-final_bundles", file.stem)
        if name:
            found[name[1]] = _kernel_bundles(file.read_text())
    return found


def _kernel_bundles(text: str) -> float:
    # the depth of a bundle's loop is the number of `>` before it
    depths = re.findall(r"^ *(?:0x)?[0-9a-f]+ +(?:[A-Z]{2})?: (>*) *\{", text, re.M)
    (test,) = re.findall(
        r"^.*: >> \{.*totalorder (%\w+), (\d+) /\* loop exit test", text, re.M
    )
    at_once = re.search(rf"{test[0]} = sadd\.s32 (\d+),", text)
    assert at_once is not None, "the counter of the loop over steps has no increment"
    block, unrolled = int(test[1]), int(at_once[1])
    return depths.count(">") / block + depths.count(">>") / unrolled


def bundles_of(
    module: Module, dump: dict[str, int], kernels: dict[str, float], time: int
) -> Bundles:
    """The bundles of all loops of a program over `time` steps, for each step."""
    sums = {"forward": 0.0, "backward": 0.0}
    whole = True
    for operation in module.operations():
        # each step of the sequence is run once, by whatever call of the kernel
        part = "backward" if "transpose(" in _origin([operation]) else "forward"
        sums[part] += kernels.get(operation.name, 0)
    for loop, operation in module.in_loops():
        count = 0 if operation.name in kernels else dump.get(operation.name, 0)
        whole &= count == 0 or _runs_once(operation)
        # JAX names the operations of a backward pass after the transform that made it
        part = (
            "backward" if "transpose(" in _origin(loop.body.instructions) else "forward"
        )
        sums[part] += count * loop.total / time
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
