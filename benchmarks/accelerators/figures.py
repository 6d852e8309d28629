"""The figures of a compiled program, and the faults that show in it alone."""

from typing import Any

from . import checks
from .hlo import Module
from .programs import Case
from .targets import Compiler, Program, Target


def compile_case(compiler: Compiler, case: Case) -> tuple[Program, Module | None]:
    """Compiles a case; without a module if the device has too little memory for it."""
    program = compiler.compile(case.function(), *case.arguments())
    return program, Module(program.hlo) if program.hlo else None


def figures(
    target: Target, case: Case, program: Program, module: Module | None
) -> dict[str, Any]:
    """The figures of one program, as JSON takes them."""
    found: dict[str, Any] = {
        "cell": case.cell,
        "dtype": case.dtype,
        "strategy": type(case.strategy).__name__,
        "backward": case.backward,
        "temporary_bytes": program.temporary,
        "fits": module is not None,
        "compile_seconds": round(program.seconds, 1),
        "faults": [],
    }
    if module is None:
        return found
    found["loops"] = list(checks.loops_of(module))
    if target.platform == "tpu":
        found["estimated_cycles"] = module.cycles
    else:
        found["launches_a_step"] = round(
            checks.launches_a_step(module, case.size[0]), 2
        )
    found["faults"] = faults(target, case, program, module)
    return found


def faults(target: Target, case: Case, program: Program, module: Module) -> list[str]:
    """The faults of one program of the large size; empty if there are none."""
    weights = checks.weight_shapes(case.arguments()[0])
    found = checks.cpu_calls(program.hlo)
    found += checks.weights_copied(module, weights)
    found += checks.weights_converted(module, weights)
    if target.platform == "tpu":
        found += checks.weights_outside_vmem(module, weights)
    return found
