"""Faults planted in kernels, strategies and masking, one at a time: each must be caught.

`python -m tests.mutations` copies the tree, makes one change in the copy, runs the tests that
should notice it, and prints a table; it ends with an error if a fault survives. Names as
arguments select faults. The C++ kernels are built again for those of theirs, for one
instruction set. All of it takes about 15 minutes. Run `make test` first: a
test that fails without the fault would catch anything.
"""

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import jaxlib

from jaxrnn.kernels import _native


ROOT = Path(__file__).parents[1]
NATIVE = "jaxrnn/kernels/native"
LIBRARY = "jaxrnn/kernels/lib/libjaxrnn.so"


class Fault(NamedTuple):
    """A change of one file: `old`, which is there once, becomes `new`."""

    file: str
    old: str
    new: str
    tests: str


MASKED, UNROLL = "jaxrnn/strategies/_masked.py", "jaxrnn/_unroll.py"
RECURRENCE = "jaxrnn/strategies/hoisted/_recurrence.py"
KERNELS = "tests/test_kernels.py -k references"
LAW_U, LAW_S = "tests/test_law_unroll.py", "tests/test_law_strategies.py"

FAULTS = {
    # lengths, masks and resets
    "padding decays a linear state": Fault(
        MASKED,
        "a = _where(z.valid, a, jax.tree.map(jnp.ones_like, a))",
        "pass",
        "tests/test_law_linear.py -k chunks",
    ),
    "padding writes to a linear state": Fault(
        MASKED,
        "b = _where(z.valid, b, jax.tree.map(jnp.zeros_like, b))",
        "pass",
        "tests/test_law_linear.py -k chunks",
    ),
    "outputs of the padding are shown": Fault(
        MASKED,
        "return _taken(z.valid, self.cell.readout(params, state, z.value))\n\n\n"
        "@dataclass(frozen=True)\nclass MaskedMatrix",
        "return self.cell.readout(params, state, z.value)\n\n\n"
        "@dataclass(frozen=True)\nclass MaskedMatrix",
        "tests/test_mask.py -k bad_state",
    ),
    "the padding changes the state": Fault(
        MASKED,
        "return after if z.valid is None else _where(z.valid, after, start)",
        "return after",
        f"{LAW_U} -k Elman",
    ),
    "a reset goes back to zero": Fault(
        MASKED,
        "initial = masked.initial_state(params)",
        "initial = jax.tree.map(jnp.zeros_like, state)",
        f"{LAW_U} -k Decay",
    ),
    "NaN in the padding is read": Fault(
        UNROLL, "xs = _without_padding(xs, valid)", "pass", LAW_U
    ),
    "resets past the end are obeyed": Fault(
        UNROLL,
        "cuts = _both(resets, inside)",
        "cuts = resets",
        "tests/test_mask.py tests/test_law_unroll.py",
    ),
    "resets do not turn round with time": Fault(
        "jaxrnn/_layer.py",
        "cuts=flip(self.cuts)",
        "cuts=self.cuts",
        f"{LAW_U} -k Bidirectional",
    ),
    # strategies
    "narrow gradients are added up as they are": Fault(
        "jaxrnn/strategies/_base.py",
        "return p.astype(jnp.float32) if _is_narrow(p) else p",
        "return p",
        "tests/test_law_linear.py -k float32",
    ),
    "the last block comes first": Fault(
        "jaxrnn/strategies/_blocks.py",
        "found = found[::-1] if reverse else found",
        "found = found[::-1]",
        f"{LAW_S} -k Checkpointed",
    ),
    "a block forgets its last state": Fault(
        "jaxrnn/strategies/_blocks.py",
        "carry, more = part(carry)",
        "_, more = part(carry)",
        "tests/test_law_linear.py -k chunks",
    ),
    "a chunk is summed as it is": Fault(
        "jaxrnn/ops/_linear_attention/_chunk.py",
        "earlier = jnp.tril(jnp.ones((size, size), bool), -1)",
        "earlier = jnp.tril(jnp.ones((size, size), bool))",
        "tests/test_law_linear.py -k chunks",
    ),
    "blocks begin a step late": Fault(
        RECURRENCE,
        "after[self.block - 1 :: self.block]",
        "after[self.block - 2 :: self.block]",
        f"{LAW_S} -k Hoisted",
    ),
    "a weight used twice keeps one gradient": Fault(
        RECURRENCE,
        "d_weights[i] += matmul.weight_gradient(a, dy)",
        "d_weights[i] = matmul.weight_gradient(a, dy)",
        "tests/test_hoisted.py",
    ),
    "a parameter used element-wise has no gradient": Fault(
        RECURRENCE,
        "d_rest = self._rest_gradient(hoisted, before, zs, products, found.states)",
        "d_rest = [jnp.zeros_like(s) for s in sums.rest]",
        f"{LAW_S} -k IndRNN",
    ),
    "layers of a wavefront run in step": Fault(
        "jaxrnn/strategies/_wavefront.py",
        "jnp.pad(mask, [(i, count - 1 - i), (0, 0)])",
        "jnp.pad(mask, [(0, count - 1), (0, 0)])",
        f"{LAW_S} -k wavefronts",
    ),
    "Newton trusts a small residual": Fault(
        "jaxrnn/strategies/newton/_strategy.py",
        "& (jnp.max(error) <= 100 * tol)",
        "",
        "tests/test_newton.py -k nearly",
    ),
    "Newton never falls back": Fault(
        "jaxrnn/strategies/newton/_strategy.py",
        "done = (jnp.max(residual) <= tol) & (jnp.max(error) <= 100 * tol)",
        "done = jnp.array(True)",
        "tests/test_newton.py -k expansive",
    ),
    "any activation has a kernel": Fault(
        "jaxrnn/strategies/kernel_table.py",
        "(cell.activation, cell.gate_activation) == usual",
        "usual is not None",
        "tests/test_fused.py tests/test_options.py",
    ),
    # operations
    "a parallel scan passes a reset": Fault(
        "jaxrnn/ops/_diag_scan.py",
        "return a_2 * uncut(cuts_2, a_1), a_2",
        "return a_2 * a_1, a_2",
        "tests/test_resets.py",
    ),
    "a gradient passes a reset": Fault(
        "jaxrnn/ops/_diag_scan.py",
        "return uncut(cuts, a * cotangent), cotangent",
        "return a * cotangent, cotangent",
        "tests/test_resets.py tests/test_primitives.py",
    ),
    "a logarithm of zero has a share": Fault(
        "jaxrnn/ops/_log_diag_scan.py",
        "share = jnp.where(empty, 0, ",
        "share = jnp.where(empty, 1, ",
        "tests/test_primitives.py",
    ),
    "vmapped rows are folded the wrong way": Fault(
        "jaxrnn/_autodiff/_fold.py",
        "x = jnp.moveaxis(x, 0, axis) if is_mapped",
        "x = jnp.moveaxis(x, 0, axis + 1) if is_mapped",
        "tests/test_fused.py -k vmap",
    ),
    # C++ kernels
    "C++: a reset is not obeyed": Fault(
        f"{NATIVE}/forward.h", "restart(group, t + 1, units);", "", KERNELS
    ),
    "C++: a reset's gradient is lost": Fault(
        f"{NATIVE}/backward.h",
        "load(d_start_h + start + v) + load(dh + k + v)",
        "load(d_start_h + start + v)",
        KERNELS,
    ),
    "C++: the gradient of a step from before its reset": Fault(
        f"{NATIVE}/backward.h",
        "if (rows.starts(t, row)) return real(start);",
        "if (rows.starts(t, row)) return real(initial) + row * H;",
        KERNELS,
    ),
    "C++: the last step of a length is left out": Fault(
        f"{NATIVE}/host.cc",
        "steps[plan.order[first + running - 1]] <= t",
        "steps[plan.order[first + running - 1]] <= t + 1",
        KERNELS,
    ),
    "C++: resets at skipped steps are left out": Fault(
        f"{NATIVE}/host.cc",
        "if (mask.reset[k] && !valid[k]) return Valid::anywhere;",
        ";",
        KERNELS,
    ),
    "C++: the slope of tanh": Fault(
        f"{NATIVE}/cells.h",
        "const auto dc = s.dc + s.dh * o * (1 - y * y);",
        "const auto dc = s.dc + s.dh * o;",
        KERNELS,
    ),
    "C++: the reset gate of a GRU": Fault(
        f"{NATIVE}/cells.h", "s.dz[3] = s.dz[2] * r;", "s.dz[3] = s.dz[2];", KERNELS
    ),
    "C++: the peephole of the output gate": Fault(
        f"{NATIVE}/cells.h",
        "s.dv[2] = s.dz[3] * s.c_new;",
        "s.dv[2] = s.dz[3] * s.c;",
        KERNELS,
    ),
    "C++: the gradient of the recurrent weights": Fault(
        f"{NATIVE}/backward.h",
        "weight_gradient(Cell::two_stages && g == G - 1 ? rh : hp",
        "weight_gradient(hp",
        KERNELS,
    ),
    "C++: a decay is read through a cut": Fault(
        f"{NATIVE}/linear.h",
        "d_h[i] = uncut<Real, cuts>(decay, d_h[i] * decay);",
        "d_h[i] = d_h[i] * decay;",
        "tests/test_kernels.py tests/test_resets.py -k 'linear or nothing_passes'",
    ),
}


def copy_of_the_tree(folder: Path) -> None:
    """Every file of the tree that git knows or would, and the kernels that are installed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split("\n"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / LIBRARY).parent.mkdir(exist_ok=True)
    shutil.copy(_native._file(), folder / LIBRARY)


def build(folder: Path) -> None:
    """The kernels of the copy, for the portable instruction set alone."""
    sources = [str(folder / NATIVE / f"{name}.cc") for name in SOURCES]
    include = Path(jaxlib.__file__).parent / "include"
    options = "-std=gnu++17 -O1 -fPIC -shared -pthread -w -ffp-contract=fast"
    defines = ["-DJAXRNN_ISA=portable", "-DJAXRNN_VECTOR_BYTES=16"]
    command = ["g++", *options.split(), *defines, "-isystem", str(include), *sources]
    subprocess.run([*command, "-o", str(folder / LIBRARY)], check=True)


SOURCES = ("ffi", "host", "team", "workspace", "kernel")

# An editable installation finds jaxrnn elsewhere, whatever the path says.
RUN = """
import sys
sys.path.insert(0, "")
sys.meta_path = [f for f in sys.meta_path if "ScikitBuild" not in type(f).__name__]
import pytest
code = pytest.main(sys.argv[2:])
import jaxrnn
assert jaxrnn.__file__.startswith(sys.argv[1]), jaxrnn.__file__
sys.exit(code)
"""


def run_tests(folder: Path, tests: str) -> str:
    """The first test that fails; empty if all pass."""
    command = [sys.executable, "-c", RUN, str(folder), "-q", "-x", "-m", "not full"]
    ran = subprocess.run(
        [*command, *shlex.split(tests)], cwd=folder, capture_output=True, text=True
    )
    failed = [line for line in ran.stdout.splitlines() if line.startswith("FAILED ")]
    # anything but tests that pass or fail is no verdict
    assert ran.returncode == bool(failed), ran.stdout[-3000:] + ran.stderr[-3000:]
    return failed[0].removeprefix("FAILED ") if failed else ""


def plant(fault: Fault | None, tests: str) -> str:
    """The first test that fails with the fault in place; empty if none does."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_of_the_tree(folder)
        if fault is not None:
            file = folder / fault.file
            text = file.read_text()
            assert text.count(fault.old) == 1, (
                f"{fault.file} has {fault.old!r} not once"
            )
            file.write_text(text.replace(fault.old, fault.new))
        if fault is None or fault.file.startswith(NATIVE):
            build(folder)
        return run_tests(folder, tests)


def main(names: list[str]) -> int:
    # in the copy and with its own kernels, tests pass as long as there is no fault
    assert not (failed := plant(None, KERNELS)), failed
    survivors = []
    for name in names or FAULTS:
        start = time.monotonic()
        failed = plant(FAULTS[name], FAULTS[name].tests)
        if not failed:
            survivors.append(name)
        verdict = "caught" if failed else "SURVIVES"
        took = time.monotonic() - start
        print(f"{verdict:9} {took:4.0f} s  {name}: {failed[:110]}", flush=True)
    print(f"{len(names or FAULTS) - len(survivors)} caught, {len(survivors)} survive")
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
