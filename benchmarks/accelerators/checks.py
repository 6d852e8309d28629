"""What must hold for compiled programs. Each check gives lines of faults; no line is good."""

import re
from collections.abc import Iterator
from typing import Any

from .hlo import Array, Instruction, Module, arrays


LARGE = 2**16
"""Elements from which an array that is shaped like a weight counts as one."""

MANY = 64
"""Steps from which a loop must keep its weights in fast memory, as they are.

A loop over chunks of 64 time steps, which has fewer, may read them again in each.
"""


def cpu_calls(text: str) -> list[str]:
    """Calls of C++ kernels in a program for another platform, lowered or compiled."""
    # StableHLO writes `custom_call @name(...)`, HLO `custom_call_target="name"`
    names = set(re.findall(r'(?:custom_call @|custom_call_target=")(jaxrnn_\w+)', text))
    return [f"calls a C++ kernel for CPU: {name}" for name in sorted(names)]


def weights_outside_vmem(module: Module, weights: set[tuple]) -> list[str]:
    """Weights that a loop on a TPU reads from main memory: its carry must name S(1)."""
    return [
        f"{array.dtype}{list(array.shape)} is not in VMEM in the carry of a loop of "
        f"{loop.trips} steps"
        for loop in module.loops
        if loop.total >= MANY
        for type_ in loop.carry
        for array in arrays(type_)
        if _is_weight(array, weights) and not array.in_vmem
    ]


def weights_copied(module: Module, weights: set[tuple]) -> list[str]:
    """Copies of a whole weight in every step of a loop."""
    return [
        f"{i.op} of a whole weight in a loop of {loop.trips} steps: {i.name}"
        for loop, i in module.in_loops()
        if loop.total >= MANY
        and i.op in ("copy", "copy-start")
        and _makes_weight(i, weights)
    ]


def weights_converted(module: Module, weights: set[tuple]) -> list[str]:
    """Kernels that do nothing but convert a whole weight, in every step of a loop."""
    return [
        f"conversion of a whole weight in a loop of {loop.trips} steps: {i.name}"
        for loop, i in module.in_loops()
        if loop.total >= MANY
        and _makes_weight(i, weights)
        and _result_of(module, i).op == "convert"
    ]


def _result_of(module: Module, instruction: Instruction) -> Instruction:
    """The operation that makes a fusion's result; another operation itself."""
    by_name = {i.name: i for i in module.inside(instruction)}
    last = list(by_name.values())[-1]
    while last.op in ("bitcast", "copy") and len(by_name) > 1:
        operand = last.rest.split(")")[0].lstrip("%")
        if operand not in by_name:
            break
        last = by_name[operand]
    return last


def weight_shapes(params: Any) -> set[tuple]:
    """The shapes of the large matrices among the parameters, and those of their transposes."""
    import jax

    shapes = {
        p.shape for p in jax.tree.leaves(params) if p.ndim >= 2 and p.size >= LARGE
    }
    return shapes | {(*s[:-2], s[-1], s[-2]) for s in shapes}


def launches_a_step(module: Module, time: int) -> float:
    """The kernels that a GPU launches in loops, for each of `time` steps.

    The program is scheduled, so each operation that computes is one launch. Counters of
    loops and slices of the input are among them.
    """
    count = sum(loop.total for loop, i in module.in_loops() if i.op not in _NO_LAUNCH)
    return count / time


_NO_LAUNCH = {
    "bitcast",
    "conditional",
    "constant",
    "copy-done",
    "fusion-done",
    "get-tuple-element",
    "parameter",
    "tuple",
    "while",
}


def _makes_weight(instruction: Instruction, weights: set[tuple]) -> bool:
    return any(_is_weight(array, weights) for array in arrays(instruction.type))


def _is_weight(array: Array, weights: set[tuple]) -> bool:
    return array.dtype in ("f32", "bf16", "f16") and array.shape in weights


def loops_of(module: Module) -> Iterator[list[int]]:
    """Depth and trip count of each loop."""
    for loop in module.loops:
        yield [loop.depth, loop.trips]
