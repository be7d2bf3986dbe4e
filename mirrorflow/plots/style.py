"""What all figures share.

Colours are Okabe and Ito's (safe for colour-blind readers); line styles and markers repeat what
colour says.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

__all__ = ["MARKERS", "STYLE", "caption", "save"]

STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 9,
    "axes.titlesize": 10,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "pdf.fonttype": 42,
}
MARKERS = "osD^vP*X"


def caption(figure: Figure, words: str) -> None:
    """State the setting below the panels."""
    width = int(13.2 * figure.get_figwidth())
    figure.supxlabel("\n".join(textwrap.wrap(words, width)), fontsize=8, color="#444444")


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write stem.png (150 dpi) and stem.pdf, which carry the caption; returns both paths."""
    words = " ".join(figure.get_supxlabel().split())
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is found once, not for each file
    files = [stem.with_suffix(suffix) for suffix in (".png", ".pdf")]
    for file in files:
        about = {"Description": words} if file.suffix == ".png" else {"Subject": words}
        metadata = about if file.suffix == ".png" else {"CreationDate": None, **about}
        figure.savefig(file, dpi=150, metadata=metadata)
    return files
