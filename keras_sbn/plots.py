"""Pictures of a training, as PNG files. Needs matplotlib (`pip install keras-sbn[plot]`)."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_sbn.callbacks.record_weights import BIN_EDGES, WeightSnapshot
from keras_sbn.files import write_atomically

_LABELS = {
    "": "training",
    "val_": "validation",
    "val_hard_": "validation, hard (sign)",
}
_STYLES: dict[str, dict[str, Any]] = {
    "": {"color": "#888888", "linestyle": ":"},
    # Where both are equal, the dashes of the soft curve lie on the hard one.
    "val_": {"color": "#1f77b4", "linestyle": "--", "zorder": 3},
    "val_hard_": {"color": "#f4a582", "linestyle": "-", "linewidth": 3.5},
}


def training_history(history: Any, path: str | Path, metric: str | None = None) -> Path:
    """Draws soft and hard accuracy over the epochs, and the sharpness below, on a logarithmic axis.

    The hard curve needs `keras_sbn.callbacks.HardValidation` in the training, the sharpness needs
    `keras_sbn.callbacks.Sharpen`; a curve whose numbers are not there is left out.

    Args:
        history: What `model.fit` returns, or its dictionary `history.history`.
        path: The PNG file to write.
        metric: Name of the metric to draw. Default: the first whose name contains "accuracy", else the
            loss.

    Returns:
        `path`.

    Raises:
        ValueError: If the history is empty or has no such metric.
        ImportError: If matplotlib is missing.

    Example:

    >>> history = {"accuracy": [0.5, 0.9], "sharpness": [1.0, 1e7]}
    >>> path = keras_sbn.plots.training_history(history, "history.png")
    """
    logs: Mapping[str, Sequence[float]] = getattr(history, "history", history)
    figure = _figure(7.0, 5.0 if "sharpness" in logs else 3.2)
    _draw_history(figure, logs, metric)
    return _save(figure, path)


def _draw_history(figure: Any, logs: Mapping[str, Sequence[float]], metric: str | None) -> None:
    if metric is None:
        plain = [name for name in logs if not name.startswith("val_")]
        metric = next((name for name in plain if "accuracy" in name), "loss")
    prefixes = [prefix for prefix in _LABELS if logs.get(prefix + metric)]
    if not prefixes:
        raise ValueError(f"Expected a history with {metric!r}. Received one with {sorted(logs)}")
    sharpness = [name for name in ("sharpness", "activation_sharpness") if logs.get(name)]
    rows = figure.subplots(2 if sharpness else 1, 1, sharex=True, squeeze=False)[:, 0]
    for prefix in prefixes:
        values = logs[prefix + metric]
        rows[0].plot(
            _epochs(values), values, label=_LABELS[prefix], **{"linewidth": 1.8, **_STYLES[prefix]}
        )
    rows[0].set_ylabel(metric.replace("_", " "))
    rows[0].legend(frameon=False)
    for name in sharpness:
        label = "activations" if name.startswith("activation") else "weights"
        label = label if len(sharpness) > 1 else "weights and activations"
        rows[-1].plot(_epochs(logs[name]), logs[name], label=label, linewidth=1.8)
    hard = np.isinf(logs[sharpness[-1]]) if sharpness else np.zeros(0, bool)
    if hard.any():
        # The values are those of the ends of epochs: one that ends hard is marked from its beginning.
        begin, style = int(hard.argmax()), {"color": "#000000", "alpha": 0.07}
        rows[0].axvspan(begin, len(hard), **style)
        rows[-1].axvspan(begin, len(hard), label="hard, ν = ∞", **style)
    if sharpness:
        rows[-1].set_yscale("log")
        rows[-1].set_ylabel("sharpness ν")
        rows[-1].legend(frameon=False)
    for axes in rows:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    rows[-1].set_xlabel("epoch")
    rows[-1].xaxis.get_major_locator().set_params(integer=True)
    rows[0].set_title("Training of a self-binarizing network", loc="left")


def weight_histograms(snapshots: Sequence[WeightSnapshot], path: str | Path, moments: int = 5) -> Path:
    """Draws the weights of every layer turning into -1 and +1: a row a layer, a column a moment.

    Args:
        snapshots: The `snapshots` of a `keras_sbn.callbacks.RecordWeights`.
        path: The PNG file to write.
        moments: Largest number of columns, at least 2: the last snapshot, and before it as many, evenly
            spread, up to the one where 99 % of the weights have arrived.

    Returns:
        `path`.

    Raises:
        ValueError: If there are no snapshots, or `moments` is not positive.
        ImportError: If matplotlib is missing.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras_sbn.layers.SelfBinarizingDense(2)])
    >>> model.compile("adam", "mse")
    >>> record = keras_sbn.callbacks.RecordWeights()
    >>> data = np.ones((8, 4)), np.ones((8, 2))
    >>> history = model.fit(*data, epochs=2, callbacks=[record], verbose=0)
    >>> path = keras_sbn.plots.weight_histograms(record.snapshots, "weights.png")
    """
    figure = _figure(1.0 + 1.8 * moments, 0.8 + 1.15 * len(snapshots[-1].counts) if snapshots else 1)
    _draw_weights(figure, snapshots, moments)
    return _save(figure, path)


def training_report(
    history: Any,
    snapshots: Sequence[WeightSnapshot],
    path: str | Path,
    metric: str | None = None,
    moments: int = 5,
) -> Path:
    """Draws both side by side: the history of a training, and its weights turning into -1 and +1.

    Args:
        history: As in `training_history`.
        snapshots: As in `weight_histograms`.
        path: The PNG file to write.
        metric: As in `training_history`.
        moments: As in `weight_histograms`.

    Returns:
        `path`.

    Raises:
        ValueError: As in the two.
        ImportError: If matplotlib is missing.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras_sbn.layers.SelfBinarizingDense(2)])
    >>> model.compile("adam", "mse")
    >>> callbacks = [keras_sbn.callbacks.RecordWeights(), keras_sbn.callbacks.Sharpen()]
    >>> history = model.fit(np.ones((8, 4)), np.ones((8, 2)), callbacks=callbacks, verbose=0)
    >>> path = keras_sbn.plots.training_report(history, callbacks[0].snapshots, "training.png")
    """
    figure = _figure(15.0, 6.5)
    left, right = figure.subfigures(1, 2, width_ratios=(2, 3))
    _draw_history(left, getattr(history, "history", history), metric)
    _draw_weights(right, snapshots, moments)
    return _save(figure, path)


def confusion_matrix(
    confusion: Any, class_names: Sequence[str], path: str | Path, largest: int = 40
) -> Path:
    """Draws what is taken for what: a row a class, a column what it was taken for, colored by shares of
    rows.

    Args:
        confusion: Numbers of samples, `(classes, classes)`.
        class_names: Names of the classes.
        path: The PNG file to write.
        largest: Classes have their names, and up to half as many their numbers, where there are at most
            so many.

    Returns:
        `path`.

    Raises:
        ValueError: If the shape is another.
        ImportError: If matplotlib is missing.

    Example:

    >>> path = keras_sbn.plots.confusion_matrix([[5, 1], [0, 6]], ["cat", "dog"], "confusion.png")
    """
    counts, classes = np.asarray(confusion), len(class_names)
    if counts.shape != (classes, classes):
        raise ValueError(
            f"Expected a confusion matrix of {classes} classes, {(classes, classes)}. Received: "
            f"{counts.shape}"
        )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(3.0 + 0.35 * classes, 10.0)
    figure = _figure(side, side)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if classes <= largest:
        axes.set_xticks(range(classes), class_names, rotation=90)
        axes.set_yticks(range(classes), class_names)
    if classes <= largest // 2:
        for row, column in np.argwhere(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                column, row, f"{counts[row, column]}", ha="center", va="center", color=color, fontsize=8
            )
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    return _save(figure, path)


def accuracy_against_bytes(
    points: Sequence[tuple[float, float]],
    path: str | Path,
    marks: Mapping[str, tuple[float, float]] | None = None,
) -> Path:
    """Draws what accuracy a number of bytes gives: `keras_sbn.Plan.plot`.

    Args:
        points: Bytes and accuracy, in [0, 1], of networks.
        path: The PNG file to write.
        marks: Single networks by name, drawn as points of their own.

    Returns:
        `path`.

    Raises:
        ImportError: If matplotlib is missing.

    Example:

    >>> path = keras_sbn.plots.accuracy_against_bytes([(1e3, 0.9), (4e3, 0.95)], "plan.png")
    """
    figure = _figure(7.0, 4.0)
    axes = figure.subplots()
    in_order = sorted(points)
    axes.step(
        [size / 1000 for size, _ in in_order],
        [100 * accuracy for _, accuracy in in_order],
        where="post",
        marker=".",
        label="expected, the best of every size",
    )
    for name, (size, accuracy) in (marks or {}).items():
        axes.plot(size / 1000, 100 * accuracy, "o", label=name)
    axes.set_xscale("log")
    for formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        # 1, 2 and 5 of every decade; more would overlap.
        formatter(lambda size, _: f"{size:g}" if f"{size:e}"[0] in "125" else "")
    axes.set_xlabel("parameters, kB")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return _save(figure, path)


def images(pictures: Any, captions: Sequence[str], path: str | Path, columns: int = 8) -> Path:
    """Draws images in rows, each with its caption.

    Args:
        pictures: uint8 `(images, height, width, channels)`, with 1 or 3 channels; of other numbers, the
            first is drawn.
        captions: One line an image.
        path: The PNG file to write.
        columns: Number of images in a row.

    Returns:
        `path`.

    Raises:
        ValueError: If there are no images, or not as many captions.
        ImportError: If matplotlib is missing.

    Example:

    >>> pictures = np.zeros((2, 8, 8, 1), "uint8")
    >>> path = keras_sbn.plots.images(pictures, ["a one", "a seven"], "images.png")
    """
    drawn = np.asarray(pictures)
    if not len(drawn) or len(drawn) != len(captions):
        raise ValueError(
            f"Expected images, and a caption each. Received: {len(drawn)} and {len(captions)}"
        )
    rows = -(-len(drawn) // columns)
    figure = _figure(1.5 * columns, 1.75 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, image, caption in zip(grid, drawn, captions, strict=False):
        values = image if image.shape[-1] == 3 else image[..., 0]
        # An image of few values, such as the digits' 0 to 16, is drawn from its darkest to its lightest.
        axes.imshow(values, cmap="gray", interpolation="nearest")
        axes.set_title(textwrap.fill(caption, 18), fontsize=8)
    return _save(figure, path)


def _draw_weights(figure: Any, snapshots: Sequence[WeightSnapshot], moments: int) -> None:
    if not snapshots:
        raise ValueError("Expected at least one snapshot. Received none; was RecordWeights in `fit`?")
    if moments < 2:
        raise ValueError(f"Expected `moments` to be at least 2. Received: moments={moments}")
    last = len(snapshots) - 1
    settled = next((i for i, snapshot in enumerate(snapshots) if _arrived(snapshot) > 0.99), last)
    chosen = {*np.linspace(0, settled, moments - 1).round().astype(int).tolist(), last}
    shown = [snapshots[index] for index in sorted(chosen)]
    names = list(shown[-1].counts)

    grid = figure.subplots(len(names), len(shown), sharex=True, sharey="col", squeeze=False)
    for row, name in zip(grid, names, strict=True):
        for axes, snapshot in zip(row, shown, strict=True):
            counts = snapshot.counts[name]
            axes.stairs(counts / counts.sum(), BIN_EDGES, fill=True, color="#1f77b4")
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axes, snapshot in zip(grid[0], shown, strict=True):
        axes.set_title(f"epoch {snapshot.epoch}\nν = {_number(snapshot.sharpness)}", fontsize=10)
    for axes in grid[-1]:
        axes.set_xticks([-1, 0, 1], ["−1", "0", "+1"])
        axes.set_ylim(bottom=0)
        axes.yaxis.get_major_locator().set_params(nbins=2)
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g} %")
    figure.supxlabel("value of a weight, tanh(ν·w)", fontsize=10)
    figure.suptitle("Share of the weights of every layer", fontsize=11)


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Expected matplotlib, to draw. Install it: pip install 'keras-sbn[plot]'"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def _arrived(snapshot: WeightSnapshot) -> float:
    """The share of weights in the outermost bins."""
    ends = sum(int(counts[0] + counts[-1]) for counts in snapshot.counts.values())
    return ends / max(sum(int(counts.sum()) for counts in snapshot.counts.values()), 1)


def _epochs(values: Sequence[float]) -> np.ndarray:
    return np.arange(1, len(values) + 1)


def _number(value: float) -> str:
    return "∞" if np.isinf(value) else f"{value:.3g}"


def _save(figure: Any, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return write_atomically(path, content.getvalue())
