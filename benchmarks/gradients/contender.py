"""A gradient method in its worker process, as the harness wants it."""

from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxrnn

from .methods import MOST, STEPS, contender, reference_of
from .problem import BOUND, errors, make, named, program


CONTENDER = "benchmarks.gradients.contender:Worker"
SOLVER = "benchmarks.gradients.contender:Solver"


class Worker:
    """One contender, with the program of one size at a time."""

    def __init__(self, title: str) -> None:
        self.contender = contender(title)
        self.run_once: Any = None
        if self.contender.other:
            from ..peers import _braintrace  # raises ImportError if it is missing

            self.peer = _braintrace

    @property
    def prepared(self) -> bool:
        """Whether a program is ready to run."""
        return self.run_once is not None

    def hello(self) -> dict[str, Any]:
        """Title and version."""
        package = "braintrace" if self.contender.other else "jaxrnn"
        version = metadata.version(package) if self.contender.other else ""
        return {"title": self.contender.title, "version": version}

    def accept(self, spec: dict) -> dict[str, Any]:
        """The cell, or the multiplications that are too many."""
        k, (a, b) = spec["units"], self.contender.powers
        params = jax.eval_shape(self.contender.layer(k).init, jax.random.key(0))
        p = sum(leaf.size for leaf in jax.tree.leaves(params))
        work = STEPS * k**a * p**b
        if work > MOST:
            return {"refused": f"{work:.0e} multiplications a call"}
        return {"computes": reference_of(self.contender)}

    def prepare(
        self, spec: dict, computes: str, reference: str | None, compiled: str
    ) -> dict[str, Any]:
        """Compiles and gates; a program that fails the gate is dropped."""
        del computes, compiled
        units = spec["units"]
        given = make(self.contender, units, "float32")
        if self.contender.other:
            run, memory = self.peer.compile(self.contender.other, given)
        else:
            run, memory = _compile(self.contender, units, given)
        self.run_once = run
        if reference is None:
            return {}
        value, grads = run()
        with np.load(Path(reference)) as file:
            found = errors(named(value, grads, self.contender.rule is None), dict(file))
        red = [name for name, error in found.items() if not error <= BOUND]
        if red:
            self.run_once = None
        shown = ", ".join(f"{n} {found[n]:.1e} > {BOUND:.0e}" for n in red) or "green"
        gate = {"red": red, "shown": shown, "errors": found}
        return memory | {"gate": gate}

    def run(self, figure: str) -> None:
        """One sequence."""
        jax.block_until_ready(self.run_once())

    def release(self) -> dict[str, Any]:
        """Forgets the program."""
        self.run_once = None
        return {}


def _compile(contender: Any, units: int, given: Any) -> tuple[Any, dict[str, int]]:
    """The program, and its memory: bytes of the trace, and XLA's temporary bytes."""
    run = jax.jit(program(contender, contender.method, units))
    compiled = run.lower(*given).compile()
    params, xs, _ = given
    memory_of: Any = compiled.memory_analysis()
    temporary = memory_of.temp_size_in_bytes
    memory = {"temporary_bytes": temporary}
    if not isinstance(contender.method, jaxrnn.BPTT):
        trace = lambda: contender.method.init(
            contender.layer(units), params, xs[0, 0], key=jax.random.key(0)
        )
        leaves = jax.tree.leaves(jax.eval_shape(trace))
        memory["trace_bytes"] = sum(v.size * v.dtype.itemsize for v in leaves)
    return lambda: compiled(*given), memory


class Solver:
    """Writes the reference: the rule of a contender, by jaxrnn in float64."""

    prepared = False

    def hello(self) -> dict[str, Any]:
        """The device."""
        return {"device": jax.devices()[0].device_kind}

    def solve(self, spec: dict, computes: str, path: str) -> dict[str, Any]:
        """Solves one size."""
        jax.config.update("jax_enable_x64", True)
        one = contender(computes)
        assert one.rule is not None
        given = make(one, spec["units"], "float64")
        value, grads = jax.jit(program(one, one.rule, spec["units"]))(*given)
        arrays = named(value, grads, False)
        found: dict[str, Any] = {name: np.asarray(v) for name, v in arrays.items()}
        np.savez(path, **found)
        return {}
