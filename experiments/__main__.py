"""`python -m experiments list`, `run NAME [options]`, `publish FOLDER`, `table [--check]`."""

import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import tyro

from . import tables
from .common import DataError, Run
from .common._results import write_results
from .common._run import CONFIG, PICTURE, RESULTS, read_json


USAGE = """usage: python -m experiments list
       python -m experiments run NAME [--small] [options]   (--help lists the options)
       python -m experiments publish FOLDER   keeps a run's results in its experiment
       python -m experiments table [--check]  writes or checks the tables of the READMEs"""


def main(arguments: list[str]) -> int:
    """Runs one command; returns the exit status."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command == "list" and not rest:
        return show()
    if command == "run" and rest and rest[0] in tables.names():
        return run(rest[0], rest[1:])
    if command == "publish" and len(rest) == 1:
        return publish(Path(rest[0]))
    if command == "table" and rest in ([], ["--check"]):
        return tables.write(check=bool(rest))
    if command == "run" and rest:
        print(
            f"there is no experiment {rest[0]!r}; there are: {', '.join(tables.names())}"
        )
    else:
        print(USAGE)
    return 2


def show() -> int:
    """Prints the names and the questions."""
    for name in tables.names():
        print(f"{name:12} {tables.question(name)}")
    return 0


def run(name: str, arguments: list[str]) -> int:
    """Runs an experiment, new or resumed."""
    module = importlib.import_module(f"experiments.{name}.train")
    small = "--small" in arguments
    given = [a for a in arguments if a != "--small"]
    default = module.SMALL if small else module.Config()
    prog = f"python -m experiments run {name}"
    options = tyro.cli(module.Config, prog=prog, default=default, args=given)
    try:
        if getattr(options, "chat", None):  # with a finished run; there is no new one
            return module.talk(options)
        if options.resume is not None:
            options = resumed(module, name, options.resume)
        one = Run(name, options, small=small)
    except DataError as error:
        return refuse(error)
    one.say(f"{name}: writing to {one.folder}")
    try:
        write_results(one, name, module.main(options, one))
    except DataError as error:
        one.discard()
        return refuse(error)
    except FloatingPointError as error:
        return refuse(error)
    except KeyboardInterrupt:
        one.keep_time()
        again = f"{prog} --resume {one.folder}"
        one.say(f"Interrupted, and saved. To go on: {again}")
        return 130
    report(one)
    return 0


def refuse(error: Exception) -> int:
    """Prints an error in words, without a traceback."""
    print(f"error: {error}", file=sys.stderr)
    return 2


def resumed(module: Any, name: str, folder: Path) -> Any:
    """The options of a run to continue."""
    kept = read_json(folder / CONFIG)
    if kept is None:
        raise DataError(
            f"--resume {folder}: the folder has no {CONFIG}. Give the folder of a run."
        )
    if kept["experiment"] != name:
        raise DataError(
            f"--resume {folder}: this is a run of {kept['experiment']!r}, not of {name!r}."
        )
    options = module.Config.from_json(kept["options"])
    return options.at(folder)


def report(one: Run) -> None:
    """Prints the results and where they are."""
    results = json.loads((one.folder / RESULTS).read_text())
    tables.show(results, one.console)
    one.say(f"{RESULTS}, {PICTURE} and metrics: {one.folder}  ({one.seconds:,.0f} s)")


def publish(folder: Path) -> int:
    """Copies the results and the picture of a run to its experiment, and writes the tables."""
    kept = read_json(folder / CONFIG)
    if kept is None or not (folder / RESULTS).is_file():
        return refuse(
            DataError(
                f"{folder}: the folder has no {RESULTS}. Give the folder of a complete run."
            )
        )
    if kept["small"]:
        return refuse(
            DataError(f"{folder}: a run with --small is a test. Publish a whole one.")
        )
    for file in (RESULTS, PICTURE):
        shutil.copyfile(folder / file, tables.HERE / kept["experiment"] / file)
    return tables.write(check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
