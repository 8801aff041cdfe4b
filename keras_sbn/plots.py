"""Pictures of a training run, as PNG files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def training_report(
    history: Mapping[str, Sequence[float]],
    snapshots: Mapping[int, np.ndarray],
    path: str | os.PathLike[str],
    title: str = "",
) -> Path:
    """Draws accuracy and sharpness over epochs, and histograms of weights turning into ±1.

    Args:
        history: Columns of a Keras `History.history`: `sharpness` and any of `accuracy`,
            `val_accuracy`, one number an epoch.
        snapshots: Values of a soft kernel in [-1, 1], by the epoch after which they were taken.
        path: Where the PNG goes.
        title: Title of the figure.

    Returns:
        The path.

    Raises:
        ImportError: If matplotlib is not installed.
        OSError: If the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Plots need matplotlib: pip install 'keras-sbn[plot]'") from error

    columns = max(len(snapshots), 1)
    figure = Figure(figsize=(2.6 * columns, 7.2), layout="constrained")
    if title:
        figure.suptitle(title)
    parts: Any = figure.subfigures(2, 1, height_ratios=(3, 2))
    top, bottom = parts
    _draw_history(top.subplots(), history)
    _draw_histograms(bottom.subplots(1, columns, sharey=True, squeeze=False)[0], snapshots)
    figure.savefig(path, dpi=120, format="png")
    return Path(path)


def _draw_history(axes: Any, history: Mapping[str, Sequence[float]]) -> None:
    lines = []
    for column, label, style in (
        ("accuracy", "training accuracy", "--"),
        ("val_accuracy", "test accuracy", "-"),
    ):
        if column in history:
            epochs = range(1, len(history[column]) + 1)
            percent = 100 * np.asarray(history[column])
            lines += axes.plot(epochs, percent, style, color="tab:blue", label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    right = axes.twinx()
    epochs = range(1, len(history["sharpness"]) + 1)
    lines += right.plot(epochs, history["sharpness"], color="tab:red", label="sharpness ν")
    right.set_yscale("log")
    right.set_ylabel("sharpness ν (log scale)")
    axes.legend(handles=lines, loc="center right")


def _draw_histograms(row: Sequence[Any], snapshots: Mapping[int, np.ndarray]) -> None:
    bins = np.linspace(-1, 1, 41)
    for axes, (epoch, values) in zip(row, sorted(snapshots.items()), strict=False):
        flat = np.asarray(values).ravel()
        axes.hist(flat, bins=bins, weights=np.full(flat.size, 100 / flat.size), color="tab:blue")
        axes.set_title(f"after epoch {epoch}" if epoch else "before training")
        axes.set_xlabel("weight tanh(νw)")
    row[0].set_ylabel("share of the weights, %")
