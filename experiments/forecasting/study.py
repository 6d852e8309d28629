"""The answer to one of the three questions of this experiment."""

from typing import Any, NamedTuple

from ..common import Result


class Study(NamedTuple):
    """Rows of the table, facts that the README quotes, and the content of the picture."""

    rows: tuple[Result, ...]
    facts: dict[str, Any]
    figure: dict[str, Any]
