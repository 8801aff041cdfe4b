"""The report of a run: one HTML page that holds its pictures and needs nothing else."""

from __future__ import annotations

import base64
import tempfile
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
from keras_sbn.training.callbacks import duration
from keras_sbn.training.checkpoints import RunState
from keras_sbn.training.result import TrainResult
from keras_sbn.training.settings import TrainSettings

if TYPE_CHECKING:
    from keras_sbn.conversion.report import ConversionReport

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222 }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
summary { cursor: pointer } summary h2 { display: inline-block }
p.note { color: #666; margin: .2rem 0 .8rem } img { max-width: min(100%, 50rem); height: auto }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.2rem 0 }
.figures div { border: 1px solid #ddd; border-radius: 6px; padding: .6rem 1.1rem }
.figures b { display: block; font-size: 1.5rem; font-weight: 600 } .figures span { color: #666 }
table { border-collapse: collapse; font-size: .88rem }
th, td { padding: .22rem .7rem; text-align: left; vertical-align: top }
th { border-bottom: 2px solid #bbb; white-space: nowrap } td { border-bottom: 1px solid #eee }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.scroll { overflow-x: auto } .binary { color: #14683b } .float { color: #99531a }
"""

#: Largest number of layers whose weights are drawn.
_SHOWN = 8

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
        figures.insert(1, (_bytes(smallest.bytes), f"{smallest.name}, 1/{ratio:.1f} of float32"))
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
        "<h2>Training</h2>",
        '<p class="note">Accuracy of the network as it trains, of the same network on validation images, '
        "and of the network it would be with sign in place of tanh.</p>",
        _picture("training history", plots.training_history, state.history, metric="accuracy"),
        "<h2>From soft to binary</h2>",
        f'<p class="note">The weights that the layers compute with, at several moments{which}.</p>',
        _picture("histograms of the weights", plots.weight_histograms, _some_layers(state.snapshots)),
        "<h2>Accuracy</h2>",
        _table(
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
        _table(("setting", "value"), rows, set()),
    ]
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    view = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    page = f"{head}{view}<style>{_STYLE}</style></head><body>" + "\n".join(parts) + "</body></html>\n"
    return write_atomically(path, page.encode())


def _some_layers(snapshots: Sequence[WeightSnapshot]) -> list[WeightSnapshot]:
    """The snapshots of a few layers, evenly spread over the network."""
    names = list(snapshots[-1].counts)
    where = np.unique(np.linspace(0, len(names) - 1, min(_SHOWN, len(names))).round().astype(int))
    chosen = [names[index] for index in where]
    return [
        replace(snapshot, counts={name: snapshot.counts[name] for name in chosen})
        for snapshot in snapshots
    ]


def _files(result: TrainResult) -> str:
    rows = []
    for file in result.files:
        verdict = f"none of {file.samples:,}" if file.samples else "not run here"
        if file.differing_decisions:
            verdict = f"{file.differing_decisions} of {file.samples:,}"
        ratio = result.float_bytes / file.bytes
        rows.append((file.name, f"{file.bytes:,}", f"1/{ratio:.1f}", verdict))
    rows.append(("float32 parameters alone", f"{result.float_bytes:,}", "1", ""))
    header = ("file", "bytes", "of float32", "decisions unlike the folded model's")
    return _table(header, rows, {1, 2, 3})


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
    return _table(header, rows, {3, 4, 5, 6})


def _table(header: Sequence[str], rows: Sequence[Sequence[object]], numbers: set[int]) -> str:
    def cells(values: Sequence[object], tag: str) -> str:
        return "".join(
            f'<{tag} class="{_class(index in numbers, str(value))}">{escape(str(value))}</{tag}>'
            for index, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells(header, "th")}</tr>{body}</table></div>'


def _class(is_number: bool, value: str) -> str:
    if is_number:
        return "n"
    return value if value in ("binary", "float") else ""


def _picture(title: str, draw: Any, *arguments: Any, **options: Any) -> str:
    with tempfile.TemporaryDirectory() as folder:
        content = draw(*arguments, Path(folder) / "picture.png", **options).read_bytes()
    encoded = base64.b64encode(content).decode()
    return f'<img alt="{escape(title)}" src="data:image/png;base64,{encoded}">'


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
