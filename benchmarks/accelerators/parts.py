"""One part of the run: all programs for one target, in an environment of its own."""

import hashlib
import json
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from . import bundles, checks, registers
from .figures import compile_case, figures
from .platforms import check_platforms
from .programs import TIME, Case, bundle_cases, kernel_cases, large_cases, small_cases
from .targets import TARGETS, Compiler


DISTRIBUTIONS = (
    "jax",
    "jaxlib",
    "libtpu",
    "jax-cuda13-plugin",
    "jax-cuda13-pjrt",
    "nvidia-cuda-nvcc",
    "nvidia-nvvm",
)


class Part:
    """Collects the results of one part, and writes them after every program.

    Attributes:
        results: what the JSON file holds.
    """

    def __init__(
        self, target: str, path: Path, say: Callable[[str], None], resume: bool = False
    ) -> None:
        self.target = TARGETS[target]
        self.path = path
        self.say = say
        self.start = time.monotonic()
        self.results: dict[str, Any] = {
            "target": target,
            "versions": _versions(),
            "finished": False,
            "small": [],
            "large": [],
            "platforms": {},
            "bundles": [],
        }
        if resume and path.exists():
            self._resume(json.loads(path.read_text()))

    def _resume(self, earlier: dict[str, Any]) -> None:
        """Keeps the programs of an earlier run with the same compiler."""
        if earlier["versions"] != self.results["versions"]:
            raise SystemExit(
                f"{self.path} is of {earlier['versions']}, and this is "
                f"{self.results['versions']}: run without --resume"
            )
        for key in ("small", "large"):
            self.results[key] = earlier[key]

    def run(self, *, reference: bool, linear: bool, brief: bool) -> None:
        """Compiles everything. The options are those of the tables in `programs`."""
        compiler = Compiler(self.target)
        self.results["platforms"] = check_platforms(self.target, compiler)
        for name, found in self.results["platforms"].items():
            self.save(f"{'; '.join(found) or 'ok':8} {name}")
        for case in large_cases(linear, brief):
            self._large(compiler, case)
        kind = self.target.kind
        cases = [*small_cases(kind, reference, brief), *kernel_cases(kind, reference)]
        self._small(compiler, cases)
        self.finish()

    def run_bundles(self, folder: Path) -> None:
        """Compiles the LSTM in bfloat16, and reads libtpu's dump of each program."""
        compiler = Compiler(self.target)
        for case in bundle_cases():
            for file in folder.iterdir():
                file.unlink()
            _, module = compile_case(compiler, case)
            assert module is not None, "it fits, as the figures of its memory show"
            dump = bundles.read_dump(folder), bundles.read_kernels(folder)
            found = bundles.bundles_of(module, *dump, TIME)
            entry = {"cell": case.cell, "dtype": case.dtype, **vars(found)}
            self.results["bundles"].append(
                {**entry, "strategy": type(case.strategy).__name__}
            )
            self.save(f"{case.name}: {found.forward} + {found.backward} bundles a step")
        self.finish()

    def _large(self, compiler: Compiler, case: Case) -> None:
        name = (case.cell, case.dtype, type(case.strategy).__name__, case.backward)
        keys = ("cell", "dtype", "strategy", "backward")
        if name in {tuple(e[key] for key in keys) for e in self.results["large"]}:
            return
        program, module = compile_case(compiler, case)
        found = figures(self.target, case, program, module)
        self.results["large"].append(found)
        shown = f"{program.temporary / 2**20:8.1f} MiB"
        if "estimated_cycles" in found:
            shown += f" {found['estimated_cycles'] / 1e6:7.1f} Mcycles"
        if "launches_a_step" in found:
            shown += f" {found['launches_a_step']:5.1f} launches a step"
        self.save(f"{shown}  {case.name}{''.join(map(_line, found['faults']))}")

    def _small(self, compiler: Compiler, cases: list[Case]) -> None:
        """Equal programs are compiled once."""
        known: dict[str, dict[str, Any]] = {}
        done = {(e["cell"], e["strategy"]) for e in self.results["small"]}
        for i, case in enumerate(cases, 1):
            if (case.cell, str(case.strategy)) in done:
                continue
            found = self._compiles(compiler, case, known)
            entry = {"cell": case.cell, "strategy": str(case.strategy)} | found
            self.results["small"].append(entry)
            faults = "".join(map(_line, found["faults"]))
            self.save(f"{i:3}/{len(cases)} {case.name}{faults}")

    def _compiles(
        self, compiler: Compiler, case: Case, known: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        """The faults of a program, and the registers of kernels for a GPU."""
        start = time.monotonic()
        try:
            with case.lowering():
                lowered = compiler.lower(case.function(), *case.arguments())
            text = lowered.as_text()
            key = hashlib.sha256(text.encode()).hexdigest()
            if key not in known:
                with registers.reported() as report:
                    program = compiler.compile_lowered(lowered, start)
                faults = checks.cpu_calls(text) + checks.cpu_calls(program.hlo)
                faults += [] if program.hlo else ["does not fit the device"]
                kernels = registers.of_kernels(report) if case.platform == "gpu" else {}
                faults += registers.spills(kernels)
                known[key] = {"faults": faults} | kernels
            return known[key]
        except Exception as error:  # whatever JAX and XLA raise is the finding
            return {"faults": [f"does not compile: {str(error)[:300]}"]}

    def finish(self) -> None:
        self.results["finished"] = True
        self.save("finished")

    def save(self, line: str) -> None:
        """Says what was done, and writes all results so far."""
        self.results["seconds"] = round(time.monotonic() - self.start)
        self.say(f"{self.target.name} {self.results['seconds']:4} s  {line}")
        write_json(self.results, self.path)


def write_json(value: Any, path: Path) -> None:
    """Writes JSON at once, so that readers never see half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(value, indent=1) + "\n")
    draft.replace(path)


def _line(fault: str) -> str:
    return f"\n      FAULT: {fault}"


def _versions() -> dict[str, str]:
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
