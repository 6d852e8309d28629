"""The options of every experiment, and the file that keeps them."""

import dataclasses
import shlex
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar


AnyOptions = TypeVar("AnyOptions", bound="Options")


@dataclass(frozen=True)
class Options:
    """Options that every experiment has; its `Config` adds those of its own."""

    data_dir: Path = Path("data")
    """The folder with the data sets, one folder each."""
    runs: Path = Path("runs")
    """The folder that holds one folder per run."""
    name: str | None = None
    """The name of the run; by default that of the experiment, with a number if it is taken."""
    resume: Path | None = None
    """The folder of a run to continue, with its own settings; other options are ignored."""
    save_seconds: float = 30.0
    """Seconds between checkpoints."""

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON values; paths are absolute, for resuming from elsewhere."""
        values = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return {k: str(v.absolute()) if isinstance(v, Path) else v for k, v in values}

    @classmethod
    def from_json(cls: type[AnyOptions], values: dict[str, Any]) -> AnyOptions:
        """The settings that `as_json` gave."""
        hints = typing.get_type_hints(cls)

        def value(name: str, given: Any) -> Any:
            if isinstance(given, list):
                return tuple(given)
            is_path = given is not None and Path in (
                hints[name],
                *typing.get_args(hints[name]),
            )
            return Path(given) if is_path else given

        return cls(**{name: value(name, given) for name, given in values.items()})

    def at(self: AnyOptions, folder: Path) -> AnyOptions:
        """These settings, for the run of a folder that is continued."""
        return dataclasses.replace(self, resume=folder)


PLACES = {f.name for f in dataclasses.fields(Options)}
"""The options that say where data and results are, and change no result."""


def settings(options: Options) -> dict[str, Any]:
    """The options that decide the result; of a file, its name alone."""
    values = {
        name: getattr(options, name)
        for name in (f.name for f in dataclasses.fields(options))
        if name not in PLACES
    }
    return {k: v.name if isinstance(v, Path) else v for k, v in values.items()}


def arguments(options: Options) -> str:
    """The options of the command line that differ from the defaults, as a user types them."""
    given = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name in PLACES or value == field.default:
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            given.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            several = value if isinstance(value, tuple) else (value,)
            given.append(f"--{flag} {' '.join(shlex.quote(str(v)) for v in several)}")
    return " ".join(given)
