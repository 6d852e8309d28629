"""`python -m benchmarks.gradients [--braintrace] [--check]`: gates, times, writes the page."""

import argparse
import importlib.util
import sys
from typing import Any

from ..harness.runner import Runner
from ..harness.trial import Task
from ..harness.turns import Settings
from ..report.results import write_results
from . import page
from .contender import CONTENDER, SOLVER
from .methods import BRAINTRACE, METHODS, REFERENCE, SIZES


SETTINGS = Settings(
    processes=1, seconds=0.15, min_turns=3, rounds=5, max_seconds=3.0, time_limit=240.0
)
MISSING = (
    "braintrace is not installed, and --braintrace compares with it. Install it in an "
    "environment for benchmarks: pip install braintrace"
)


def main(arguments: list[str]) -> int:
    """Runs one suite, and writes its results and the page."""
    parser = argparse.ArgumentParser("benchmarks.gradients", description=__doc__)
    add = parser.add_argument
    add("--braintrace", action="store_true", help="jaxrnn and braintrace side by side")
    add("--check", action="store_true", help="compares the page with the results")
    add("--sizes", type=int, nargs="*", default=SIZES, help="units; stores nothing")
    given = parser.parse_args(arguments)
    if given.check:
        return page.write(check=True)
    if given.braintrace and importlib.util.find_spec("braintrace") is None:
        print(f"error: {MISSING}", file=sys.stderr)
        return 2
    suite = "braintrace" if given.braintrace else "methods"
    results = run(suite, tuple(given.sizes))
    print(page.text(suite, results))
    if not results["finished"]:
        return 130
    if tuple(given.sizes) == SIZES:
        write_results(results, page.RESULTS / f"{suite}.json")
        page.write()
    found = [r for case in results["cases"] for r in case["results"].values()]
    return int(any("failed" in r or r.get("gate", {}).get("red") for r in found))


def run(suite: str, sizes: tuple[int, ...]) -> dict[str, Any]:
    """The results of a suite."""
    titles = METHODS if suite == "methods" else BRAINTRACE
    packages = "jaxrnn jax jaxlib numpy" + " braintrace" * (suite == "braintrace")
    runner = Runner(
        suite,
        tuple(Task(f"{k} units", ("sequence",), {"units": k}) for k in sizes),
        {title: (CONTENDER, title) for title in titles},
        (SOLVER,),
        SETTINGS,
        reference=REFERENCE,
        floor="",
        distributions=tuple(packages.split()),
    )
    return runner.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
