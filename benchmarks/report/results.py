"""Result files: where they are, and how they are read and written."""

import json
from pathlib import Path
from typing import Any

from ..harness.runner import FORMAT
from ..harness.turns import quartiles, ratio_range


RESULTS = Path(__file__).resolve().parents[1] / "results"


def read_results(path: Path) -> dict[str, Any]:
    """Reads results that `run` wrote, in this format or the one before.

    Raises:
        ValueError: if the file has no results, or results of an older format.
    """
    try:
        results = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    found = results.get("format") if isinstance(results, dict) else None
    if found not in (6, FORMAT):
        raise ValueError(
            f"{path} has no results of format 6 or {FORMAT}; run it again."
        )
    return _from_format_6(results) if found == 6 else results


def write_results(results: dict[str, Any], path: Path) -> None:
    """Writes results at once, so that readers never see half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(results, indent=1) + "\n")
    draft.replace(path)


def default_path(results: dict[str, Any]) -> Path:
    """The file for results of this machine and suite."""
    return RESULTS / results["machine"]["name"] / f"{results['suite']}.json"


_SETTINGS = {
    "fewest": "min_turns",
    "together": "turns_per_reference",
    "most": "max_seconds",
    "limit": "time_limit",
    "patience": "timeout",
}


def _from_format_6(results: dict[str, Any]) -> dict[str, Any]:
    """Results of format 6 with the keys of this one."""
    settings = results["settings"].items()
    settings = {_SETTINGS.get(key, key): value for key, value in settings}
    results |= {"format": FORMAT, "floor": "floor", "settings": settings}
    for case in results["cases"]:
        case["elapsed"] = case.pop("took")
        found = [result.get("figures", {}) for result in case["results"].values()]
        for figure in (figure for figures in found for figure in figures.values()):
            figure["turns"] = figure.pop("rounds")
            # The oldest files have the fastest turn instead of the lower quartile.
            figure["quartiles"] = [
                figure["seconds"],
                *quartiles(figure["turns"])[1:],
            ]
        reference = case["results"].get(results["reference"], {}).get("figures", {})
        for name, figure in (item for figures in found for item in figures.items()):
            if "ratio" in figure:
                own, other = figure["quartiles"], reference[name]["quartiles"]
                figure["ratio_range"] = ratio_range(own, other)
    return results
