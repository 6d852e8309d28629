"""Pictures, written whole or not at all."""

from pathlib import Path

import matplotlib


matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def save_picture(path: Path, figure: Figure, dpi: int = 110) -> None:
    """Writes a figure as PNG, replaces the old file when it is complete, and closes it."""
    temporary = path.with_name("new-" + path.name)
    figure.savefig(temporary, dpi=dpi)
    plt.close(figure)
    temporary.replace(path)
