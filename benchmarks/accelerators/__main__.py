"""The command line: `python -m benchmarks.accelerators tpu v5e`, `gpu`, `faults`, `report`.

Each command but `report` runs in an environment with the compiler of its target; `make
accelerators` makes them all, and runs every command.
"""

import argparse
import os
import sys
from pathlib import Path

from .bundles import dump_arguments, dump_folder
from .targets import TARGETS, prepare_environment


ROOT = Path(__file__).resolve().parents[2]
PARTS = ROOT / "build" / "accelerators"


def main() -> int:
    """Runs one command and returns its exit status."""
    args = _parser().parse_args()
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        print("stopped; the results so far are kept", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.accelerators", description=__doc__
    )
    commands = parser.add_subparsers(required=True)

    def command(
        name: str, run, targets: list[str], text: str
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        if targets:
            alone = "?" if len(targets) == 1 else None
            made.add_argument(
                "target", choices=targets, nargs=alone, default=targets[0]
            )
            made.add_argument("--kernels", type=Path, help="the library of C++ kernels")
            made.add_argument("--name", help="the name of the result file")
        return made

    tpus = [t.name for t in TARGETS.values() if t.platform == "tpu"]
    gpus = [t.name for t in TARGETS.values() if t.platform == "cuda"]
    tpu = command("tpu", _part, tpus, "compiles all programs for a TPU")
    gpu = command("gpu", _part, gpus, "compiles all programs for a GPU")
    for made in (tpu, gpu):
        made.add_argument(
            "--resume", action="store_true", help="goes on from its results"
        )
        made.add_argument("--brief", action="store_true", help="fewer programs")
        made.add_argument(
            "--linear", action="store_true", help="also large linear cells"
        )
    command("bundles", _bundles, tpus, "counts the bundles of a step on a TPU")
    command(
        "faults", _faults, [*tpus, *gpus], "plants faults that the checks must find"
    )
    report = command("report", _report, [], "checks all results and writes the page")
    report.add_argument("parts", type=Path, nargs="*", help="result files of the parts")
    report.add_argument("--keep", action="store_true", help="leave the committed files")
    return parser


def _prepare(args: argparse.Namespace) -> Path:
    """Sets up the process; returns the path of the result file."""
    prepare_environment()
    if args.kernels is not None:
        from jaxrnn.kernels import _native

        # the library has no Python in it: one build serves every environment
        _native._file = lambda: args.kernels.resolve()
    return PARTS / f"{args.name or args.target}.json"


def _say(line: str) -> None:
    print(line, flush=True)


def _part(args: argparse.Namespace) -> bool:
    path = _prepare(args)
    from .parts import Part

    part = Part(args.target, path, _say, args.resume)
    part.run(
        reference=part.target.platform == "tpu" and not args.brief,
        linear=args.linear,
        brief=args.brief,
    )
    return False


def _bundles(args: argparse.Namespace) -> bool:
    with dump_folder() as folder:
        os.environ["LIBTPU_INIT_ARGS"] = dump_arguments(folder)
        path = _prepare(args)
        from .parts import Part

        Part(args.target, path, _say).run_bundles(folder)
    return False


def _faults(args: argparse.Namespace) -> bool:
    path = _prepare(args)
    from .faults import planted_faults
    from .parts import write_json

    results, red = {}, False
    for name, without, planted in planted_faults(TARGETS[args.target]):
        passed = not without and bool(planted)
        red |= not passed
        results[name] = passed
        _say(f"{args.target} {'found' if passed else 'NOT FOUND'}  {name}")
        for line in (*without, *planted)[:3]:
            _say(f"      {line}")
        write_json({"target": args.target, "planted": results}, path)
    return red


def _report(args: argparse.Namespace) -> bool:
    from .report import report

    paths = args.parts or sorted(PARTS.glob("*.json"))
    if not paths:
        raise SystemExit(f"there are no results in {PARTS}; run `make accelerators`")
    return report(paths, ROOT, _say, keep=args.keep)


if __name__ == "__main__":
    sys.exit(main())
