"""The report of a run: one HTML page that holds its pictures and needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sbn import plots
from keras_sbn.callbacks.record_weights import WeightSnapshot
from keras_sbn.data import ImageDataset
from keras_sbn.files import write_atomically
from keras_sbn.training import beside
from keras_sbn.training.callbacks import duration
from keras_sbn.training.checkpoints import RunState
from keras_sbn.training.html import note, page, picture, size_of, table
from keras_sbn.training.mistakes import Mistakes
from keras_sbn.training.result import TrainResult
from keras_sbn.training.settings import TrainSettings

if TYPE_CHECKING:
    from keras_sbn.conversion.report import ConversionReport

#: Largest number of layers whose weights are drawn.
_SHOWN = 8
#: Largest number of classes in a table, and of images that are recognized wrongly.
_CLASSES, _EXAMPLES = 20, 24

_ACCURACIES = {
    "soft": ("as trained", "at the last sharpness of the training, ν = {nu}"),
    "hard": ("hard (sign)", "signs, with the batch-normalization statistics of the training"),
    "reestimated": ("hard, re-estimated", "signs, with statistics of the network of signs: model.keras"),
    "folded": ("folded", "integer kernels and thresholds, on 8-bit images"),
}


def write_page(
    path: Path,
    settings: TrainSettings,
    dataset: ImageDataset,
    model: Any,
    state: RunState,
    result: TrainResult,
    reports: Mapping[str, ConversionReport],
    mistakes: Mistakes,
) -> Path:
    """Writes the report of a run, and returns its path.

    Raises:
        ImportError: If matplotlib is missing.
        OSError: If the file cannot be written.
    """
    kept = result.accuracy.get("reestimated", result.accuracy["hard"])
    last = state.history["sharpness"][-1]
    nu = "∞: signs already" if np.isinf(last) else f"{last:.3g}: still tanh"
    smallest = min(result.files, key=lambda file: file.bytes, default=None)
    figures = [
        (f"{100 * kept:.2f} %", f"hard accuracy, {result.validation_images:,} validation images"),
        (f"{100 * result.accuracy['soft']:.2f} %", f"accuracy as trained, at ν = {nu}"),
        (duration(state.seconds), f"{settings.epochs} epochs on {keras.backend.backend()}"),
    ]
    if smallest is not None:
        ratio = result.float_bytes / smallest.bytes
        figures.insert(1, (size_of(smallest.bytes), f"{smallest.name}, 1/{ratio:.1f} of float32"))
    layers = len(state.snapshots[-1].counts)
    which = f", in {_SHOWN} of {layers} layers" if layers > _SHOWN else ""
    title = f"{model.name} on {dataset.name}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="note">{len(dataset.train):,} training images, {dataset.classes} classes, '
        f"{' × '.join(map(str, dataset.input_shape))}; Keras {escape(keras.__version__)}</p>",
        '<div class="figures">'
        + "".join(f"<div><b>{escape(a)}</b><span>{escape(b)}</span></div>" for a, b in figures)
        + "</div>",
        *_beside(result),
        "<h2>Training</h2>",
        '<p class="note">Accuracy of the network as it trains, of the same network on validation images, '
        "and of the network it would be with sign in place of tanh.</p>",
        picture("training history", plots.training_history, state.history, metric="accuracy"),
        "<h2>From soft to binary</h2>",
        f'<p class="note">The weights that the layers compute with, at several moments{which}.</p>',
        picture("histograms of the weights", plots.weight_histograms, _some_layers(state.snapshots)),
        "<h2>Accuracy</h2>",
        table(
            ("model", "accuracy", ""),
            [
                (label, f"{100 * result.accuracy[name]:.2f} %", note.format(nu=nu))
                for name, (label, note) in _ACCURACIES.items()
                if name in result.accuracy
            ],
            {1},
        ),
        f'<p class="note">The folded model decides otherwise than the hard one on '
        f"{result.folded_unlike_hard} of {result.validation_images:,} images; its sums of integers are "
        "exact where float32 rounds.</p>",
    ]
    parts += _mistakes(mistakes, dataset)
    if result.files:
        parts += ["<h2>Files</h2>", _files(result)]
    for index, (name, report) in enumerate(reports.items()):
        opened = "" if index else " open"
        heading = f"<summary><h2>Layers of {escape(name)}</h2></summary>"
        parts.append(f"<details{opened}>{heading}{_layers(report)}</details>")
    rows = [(name, "" if value is None else value) for name, value in asdict(settings).items()]
    parts += [
        "<h2>Settings</h2>",
        '<p class="note">The file run.toml reproduces the run: keras-sbn train --config run.toml '
        "--out another</p>",
        table(("setting", "value"), rows, set()),
    ]
    return write_atomically(path, page(title, parts).encode())


def _some_layers(snapshots: Sequence[WeightSnapshot]) -> list[WeightSnapshot]:
    """The snapshots of a few layers, evenly spread over the network."""
    names = list(snapshots[-1].counts)
    where = np.unique(np.linspace(0, len(names) - 1, min(_SHOWN, len(names))).round().astype(int))
    chosen = [names[index] for index in where]
    return [
        replace(snapshot, counts={name: snapshot.counts[name] for name in chosen})
        for snapshot in snapshots
    ]


def _beside(result: TrainResult) -> list[str]:
    """Float, int8 and binary side by side, where the run began with a float model."""
    if not result.beside:
        return []
    return [
        "<h2>Beside the float model</h2>",
        note(
            f"On {result.validation_images:,} validation images; the float model in Keras, int8 in its "
            f"file, the "
            "binary network folded, which its files decide as. Files were run in turns on this machine, "
            "one "
            "thread, one image at a time."
        ),
        table(beside.HEADER, beside.rows(result.beside), {1, 2, 3}),
    ]


def _mistakes(mistakes: Mistakes, dataset: ImageDataset) -> list[str]:
    """What is taken for what, class by class, and images that are."""
    wrong = int(np.count_nonzero(mistakes.labels != mistakes.predicted))
    by_class = sorted(
        (one for one in mistakes.by_class() if one.images), key=lambda one: one.accuracy or 0.0
    )
    rows = [
        (
            one.name,
            one.images,
            f"{100 * (one.accuracy or 0.0):.1f} %",
            "" if one.taken_for is None else f"{one.taken_for} ({one.times})",
        )
        for one in by_class[:_CLASSES]
    ]
    left_out = len(by_class) - len(rows)
    parts = [
        "<h2>Mistakes</h2>",
        note(
            f"The folded network on {len(mistakes.labels):,} validation images, of which it takes "
            f"{wrong:,} for "
            "another class. Rows are what they are, columns what they are taken for."
        ),
        '<div class="beside">',
        picture("confusion matrix", plots.confusion_matrix, mistakes.confusion(), mistakes.class_names),
        "<div>",
        table(("class, worst first", "images", "accuracy", "most often taken for"), rows, {1, 2}),
        note(f"and {left_out} classes that are recognized better") if left_out else "",
        "</div></div>",
    ]
    where = mistakes.worst(_EXAMPLES)
    if len(where):
        captions = [
            f"{mistakes.class_names[mistakes.labels[i]]}, not "
            f"{mistakes.class_names[mistakes.predicted[i]]}"
            for i in where
        ]
        parts += [
            note(
                f"{len(where)} of these images, those where the network is surest: what they are, and "
                f"not what "
                "it says."
            ),
            picture(
                "images that are recognized wrongly",
                plots.images,
                np.stack([dataset.validation.images[[i]][0] for i in where]),
                captions,
            ),
        ]
    return parts


def _files(result: TrainResult) -> str:
    rows = []
    for file in result.files:
        verdict = f"none of {file.samples:,}" if file.samples else "not run here"
        if file.differing_decisions:
            verdict = f"{file.differing_decisions} of {file.samples:,}"
        ratio = result.float_bytes / file.bytes
        latency = "" if file.median_ms is None else f"{file.median_ms:.3f} ms"
        rows.append(
            (file.name, f"{file.bytes:,}", f"1/{ratio:.1f}", verdict, latency, file.runtime or "")
        )
    rows.append(("float32 parameters alone", f"{result.float_bytes:,}", "1", "", "", ""))
    header = (
        "file",
        "bytes",
        "of float32",
        "decisions unlike the folded model's",
        "an image takes",
        "measured here, one thread, in",
    )
    return table(header, rows, {1, 2, 3, 4})


def _layers(report: ConversionReport) -> str:
    rows: list[tuple[str, ...]] = [
        (
            row.name.rsplit("/", 1)[-1],
            row.kind,
            " + ".join(row.operators),
            f"{row.bytes:,}",
            *(f"{macs:,}" if macs else "" for macs in (row.binary_macs, row.int8_macs, row.float_macs)),
            row.reason,
        )
        for row in report.layers
    ]
    totals = (report.binary_macs, report.int8_macs, report.float_macs)
    rows.append(("file", "", "", f"{report.file_bytes:,}", *(f"{total:,}" for total in totals), ""))
    header = ("layer", "kind", "operators", "bytes", "binary MACs", "int8 MACs", "float MACs", "why")
    return table(header, rows, {3, 4, 5, 6})
