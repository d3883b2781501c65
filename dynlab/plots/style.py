"""What every figure shares: colours, the axes to draw on, the last touches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LABEL_SIZE = 11


def _axes(ax: Any, size: tuple[float, float] = (6.4, 4.0), projection: str | None = None) -> Any:
    """The axes to draw on: `ax`, or those of a new pyplot figure."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("dynlab.plots needs matplotlib: pip install 'dynlab[plots]'") from error
    return plt.subplots(figsize=size, layout="constrained", subplot_kw={"projection": projection})[1]


def _finish(ax: Any, xlabel: str, ylabel: str, title: str | None) -> Any:
    ax.set_xlabel(xlabel, fontsize=LABEL_SIZE)
    ax.set_ylabel(ylabel, fontsize=LABEL_SIZE)
    if title:
        ax.set_title(title, fontsize=LABEL_SIZE + 1)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _labelled(values: Any) -> Mapping[str, Any]:
    """Label -> array; one array alone has the label ''."""
    return values if isinstance(values, Mapping) else {"": values}


def _name(argument: str, label: str) -> str:
    return f"{argument}[{label!r}]" if label else argument
