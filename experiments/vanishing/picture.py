"""The picture: gradients by time lag, Lyapunov exponents, and the errors after training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from ..common import save_picture
from .model import LARGE, NETWORKS, REMEDIES, SMALL, Case


SMALLEST = 1e-12
"""Gradients below it are drawn here."""
LEAST = 1e-6
"""And errors below it here."""


def draw(path: Path, found: Mapping[Case, Any], constant: float) -> None:
    """Draws six panels as a PNG file: the networks above, the remedies below."""
    figure, axes = plt.subplots(2, 3, figsize=(15, 8.4), layout="constrained")
    (lags, spectra, errors), (small, large, mended) = axes
    _draw_lags(lags, {case.network: found[case].start for case in NETWORKS})
    lags.set_title("six networks before training: how far gradients reach")
    for case in NETWORKS:
        exponents = found[case].start["exponents"]
        spectra.plot(
            np.arange(1, len(exponents) + 1), exponents, "o-", label=case.network
        )
    spectra.axhline(0, color="grey", linewidth=0.8)
    spectra.set(
        title="their Lyapunov exponents, in the same colors",
        xlabel="index",
        ylabel="exponent (nats per step)",
    )
    _draw_errors(errors, {case.network: found[case] for case in NETWORKS}, constant)
    errors.set_title("after training: error of the remembered bits")
    for ax, network in ((small, SMALL), (large, LARGE)):
        views = {"none": next(found[c].end for c in NETWORKS if c.network == network)}
        views |= {c.remedy: found[c].end for c in REMEDIES if c.network == network}
        _draw_lags(ax, views)
        ax.set_title(f"{network}, after training, by remedy")
    names = {
        f"{c.network.removeprefix('Elman, ')}:\n{c.remedy}": found[c] for c in REMEDIES
    }
    _draw_errors(mended, names, constant)
    mended.set_title("after training with a remedy")
    save_picture(path, figure)


def _draw_lags(ax: Any, views: dict[str, Any]) -> None:
    for name, view in views.items():
        norms = np.maximum(view["norms"], SMALLEST)
        ax.semilogy(np.arange(1, len(norms) + 1), norms, label=name)
    ax.set(xlabel="time lag (steps)", ylabel="|d error / d state|")
    ax.legend(fontsize=8)


def _draw_errors(ax: Any, results: dict[str, Any], constant: float) -> None:
    names = list(results)[::-1]
    for place, name in enumerate(names):
        errors = np.maximum(results[name].errors, LEAST)
        ax.plot(errors, [place] * len(errors), "k.", ms=4)
        ax.barh(place, np.mean(errors), color="C0", alpha=0.6)
        ax.text(1.4 * max(errors), place, f"{np.mean(errors):.2g}", va="center")
    ax.set_yticks(range(len(names)), names)
    ax.axvline(
        constant, color="grey", linestyle="--", label=f"constant: {constant:.1f}"
    )
    ax.set(xscale="log", xlim=(LEAST, 20), xlabel="squared error (lower is better)")
    ax.legend(fontsize=8, loc="lower right")
