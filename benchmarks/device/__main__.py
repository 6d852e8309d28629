"""The command line: `python -m benchmarks.device run`, `report`, and `step` for one step."""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from . import lines
from .report import write_report
from .runner import SLACK, Run, Step
from .steps import select, works


_ROOT = Path(__file__).resolve().parents[2]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.device", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="do")
    run = commands.add_parser("run", help="all steps; then the report")
    run.add_argument("out", type=Path, help="the folder of the results")
    run.add_argument("--wheels", type=Path, help="a folder with jaxrnn's wheel")
    run.add_argument("--minutes", type=float, default=8.0, help="time for all steps")
    run.add_argument("--only", nargs="*", default=[], help="patterns of names of steps")
    run.add_argument("--rehearse", action="store_true", help="tiny sizes")
    report = commands.add_parser("report", help="tables from the results of any run")
    report.add_argument("out", type=Path)
    step = commands.add_parser("step", help="one step, in this process")
    step.add_argument("name")
    step.add_argument("out", type=Path)
    step.add_argument("--rehearse", action="store_true")
    step.add_argument("--without", action="append", default=[])
    return parser


def run(options: argparse.Namespace) -> int:
    """Runs the steps, and writes the report of what there is, also after Ctrl-C."""
    out = options.out.resolve()
    steps = select(out, tuple(options.only), options.rehearse)
    if (out / lines.FILE).exists():
        raise ValueError(f"{out} has results already; give another folder.")
    status = 0
    with tempfile.TemporaryDirectory() as scratch:
        site, dump = Path(scratch, "site"), Path(scratch, "dump")
        paths = [str(site), str(_ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            # otherwise the checkout would hide the wheel, which has the C++ kernels
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # PyTorch needs memory as well
            "DEVICE_DUMP": str(dump),
            # a step that is run again finds what it compiled before
            "JAX_COMPILATION_CACHE_DIR": str(Path(scratch, "cache")),
        }
        if options.rehearse:
            environment |= {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
        runner = Run(out, 60 * options.minutes, environment)
        try:
            if options.wheels is not None:
                runner.run([_install(options.wheels, site)])
            for step in steps:
                runner.run([_dumping(step, dump)])
        except KeyboardInterrupt:
            lines.writer(out, "run")(ended="interrupted")
            status = 130
    print(write_report(out))
    return status


def _install(wheels: Path, site: Path) -> Step:
    """The step that installs the wheels of a folder, without any package index."""
    found = sorted(str(wheel.resolve()) for wheel in wheels.glob("*.whl"))
    if not found:
        raise ValueError(f"{wheels} has no wheels; `pip wheel --no-deps -w {wheels} .`")
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index")
    more = ("--no-compile", "--no-cache-dir", "--target", str(site))
    return Step("install", (*pip, *more, *found), 60)


def _dumping(step: Step, dump: Path) -> Step:
    """The step "launches" needs XLA's dump, which slows down all others."""
    if step.name != "launches":
        return step
    flags = f"--xla_dump_to={dump} --xla_dump_hlo_as_text"
    given = os.environ.get("XLA_FLAGS", "")
    # without the cache: XLA dumps what it compiles, not what it reads
    env = ("env", f"XLA_FLAGS={given} {flags}", "JAX_ENABLE_COMPILATION_CACHE=false")
    return Step(step.name, env + step.command, step.limit)


def step(options: argparse.Namespace) -> NoReturn:
    """Runs one step; its results are lines in the folder."""
    say = lines.writer(options.out, options.name)
    # a run that was killed leaves no step behind; this kills the process where it is
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(float(os.environ.get("DEVICE_SECONDS", 600)) + 2 * SLACK))
    work = works()[options.name]
    work.run(say, options.rehearse, tuple(options.without))
    sys.stdout.flush()
    os._exit(0)  # without waiting for threads that still compile


def main() -> int:
    """Runs the command of the command line."""
    # a machine that is taken away sends this; report what there is, as after Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = _parser().parse_args()
    try:
        if options.do == "report":
            print(write_report(options.out))
            return 0
        return run(options) if options.do == "run" else step(options)
    except (ValueError, OSError) as error:
        print(f"benchmarks.device: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
