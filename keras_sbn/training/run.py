"""A whole training: data, model, fit with checkpoints, fold, convert, verify, report."""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_sbn.binarize import binarize, decisions
from keras_sbn.callbacks import HardValidation, Monitor, Sharpen
from keras_sbn.data import Batches, ImageDataset
from keras_sbn.extras import installed, remedy, why_not_run
from keras_sbn.files import save_model, write_atomically
from keras_sbn.statistics import reestimate_batch_normalization
from keras_sbn.tables import format_table
from keras_sbn.tflite.schema import schema
from keras_sbn.training.callbacks import KeepRun, duration
from keras_sbn.training.checkpoints import Checkpoints, RunState
from keras_sbn.training.devices import on_devices
from keras_sbn.training.folder import DATA, begin, check_folder
from keras_sbn.training.progress import ShowProgress
from keras_sbn.training.settings import TrainSettings

_MONITORED = 64


@dataclass(frozen=True)
class FileResult:
    """A converted file: its bytes, and on how many of `samples` images it decides unlike the model.

    `samples` is 0 where nothing that is installed runs the file.
    """

    name: str
    bytes: int
    samples: int
    differing_decisions: int
    differing_outputs: int
    layers: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class TrainResult:
    """What a training gave; `print` shows it as a table.

    Attributes:
        folder: Folder of the run.
        accuracy: Share of correct predictions on the validation images: `soft` (as training left it, at
            its last sharpness), `hard` (signs, with the statistics of the training), `reestimated`
            (hard, with those of the hard network; the model that is kept) and `folded`.
        validation_images: How many there are.
        folded_unlike_hard: On how many of them folded and hard model decide otherwise. The one has exact
            sums of integers where the other rounds.
        float_bytes: Bytes of the parameters, were they all float32.
        files: A `FileResult` a target.
        history: From name to the values of the epochs.
        seconds: Time of the training.
    """

    folder: str
    accuracy: dict[str, float]
    validation_images: int
    folded_unlike_hard: int
    float_bytes: int
    files: tuple[FileResult, ...]
    history: dict[str, list[float]]
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether every file decides as the folded model, on all images that were compared."""
        return all(file.differing_decisions == 0 for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures for JSON, which has no infinity: `None` where the sharpness is infinite."""
        history = {
            name: [value if math.isfinite(value) else None for value in values]
            for name, values in self.history.items()
        }
        return {**asdict(self), "history": history}

    def __str__(self) -> str:
        names = {
            "soft": "as trained",
            "hard": "hard (sign)",
            "reestimated": "hard, statistics estimated again",
            "folded": "folded",
        }
        rows = [
            (label, f"{100 * self.accuracy[name]:.2f} %")
            for name, label in names.items()
            if name in self.accuracy
        ]
        lines = [format_table(("model", "accuracy"), rows, "lr"), ""]
        for file in self.files:
            ratio = self.float_bytes / file.bytes
            compared = (
                f"{file.differing_decisions} of {file.samples} decisions unlike the folded model's"
                if file.samples
                else "not run here, and so not compared with the model"
            )
            lines.append(
                f"{file.name}: {file.bytes:,} bytes, float32 parameters take {ratio:.1f} times as many; "
                f"{compared}"
            )
        lines.append(f"{self.validation_images} validation images; trained for {duration(self.seconds)}")
        return "\n".join(lines)


def train(
    settings: TrainSettings,
    out: str | os.PathLike[str],
    resume: bool = False,
    say: Callable[[str], None] = print,
    overwrite: bool = False,
    progress: bool = False,
) -> TrainResult:
    """Trains, folds, converts and verifies a network, and reports on it.

    Writes into `out`: `run.toml` (the settings), `data.json` (classes and input scaling of the data),
    `history.csv`, `checkpoints/` (the last epoch, and `best.keras`, that of the highest hard validation
    accuracy), `logs/` for TensorBoard, `model.keras` (hard), `folded.keras` (which takes 8-bit images),
    `model_lce.tflite`, `model_tflite.tflite`, `result.json` and `report.html`. Nothing is written before
    the data are loaded and the model is built.

    The recipe: Adam with a cosine decay, cross-entropy, the sharpness schedule of the settings, and at
    the end kernels at rest and settled batch-normalization statistics of the network of signs. What is
    trained depends on the settings alone: a run that is killed and resumed sees the same images with the
    same sharpness.

    Args:
        settings: What to train, on what, and how.
        out: Folder of the run; made where missing.
        resume: Whether to go on with a run that is in `out`, from its last checkpoint.
        say: Receives lines of progress.
        overwrite: Whether a run that is in `out` is removed first; other files there stay.
        progress: Whether to write the progress within an epoch to standard error, in one line that is
            overwritten.

    Returns:
        A `TrainResult`; `print` shows it as a table.

    Raises:
        ImportError: If a package is missing that the run will need; nothing is trained then.
        ValueError: If a setting does not fit, or `out` holds another run.
        OSError: If `out` cannot be written.
    """
    if settings.backend not in (None, keras.backend.backend()):
        raise ValueError(
            f"Expected the backend {settings.backend!r}. Received: Keras runs on "
            f"{keras.backend.backend()!r}; set KERAS_BACKEND={settings.backend} before Keras is "
            "imported, or start the training with `keras-sbn train`."
        )
    _require_packages(settings, say)
    settings = replace(settings, backend=keras.backend.backend())
    folder = Path(out)
    check_folder(settings, folder, resume, overwrite)
    checkpoints = Checkpoints(folder / "checkpoints")
    keras.utils.set_random_seed(settings.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(settings.dtype_policy)
    try:
        dataset = settings.load_data()
        say(
            f"{dataset.name}: {len(dataset.train)} images to train on, {len(dataset.validation)} to "
            f"validate on, {dataset.classes} classes, {dataset.input_shape}"
        )
        with on_devices(settings.devices):
            found = None if overwrite else checkpoints.load()
            model, state = found or (settings.build_model(dataset), RunState())
            # Only now, so that a mistake in the settings leaves no folder behind.
            begin(settings, dataset, folder, overwrite)
            _fit(settings, dataset, model, state, checkpoints, folder, say, progress)
            accuracy = _harden(settings, dataset, model, state)
    finally:
        keras.config.set_dtype_policy(before)
    save_model(model, folder / "model.keras")
    # From here on the one that was saved, on one device.
    model = keras.models.load_model(folder / "model.keras", compile=False)
    return _deploy(settings, dataset, model, state, accuracy, folder, say)


def _require_packages(settings: TrainSettings, say: Callable[[str], None]) -> None:
    """Fails before a long training and not after it."""
    if not installed("matplotlib"):
        raise ImportError(f"The report of a run needs matplotlib: {remedy('plot')}")
    if settings.targets:
        schema()
    for target in settings.targets:
        reason = why_not_run(target)
        if reason is not None:
            say(f"the file for {target} will be written, and not compared with the model: {reason}")


def _fit(
    settings: TrainSettings,
    dataset: ImageDataset,
    model: Any,
    state: RunState,
    checkpoints: Checkpoints,
    folder: Path,
    say: Callable[[str], None],
    progress: bool,
) -> None:
    if state.epoch:
        say(f"resuming after epoch {state.epoch} of {settings.epochs}")
    batches = dataset.batches(
        "train",
        settings.batch_size,
        seed=settings.seed,
        first_epoch=state.epoch,
        threads=settings.threads,
        multiple_of=settings.devices,
    )
    if not state.epoch:
        model.compile(
            keras.optimizers.Adam(
                keras.optimizers.schedules.CosineDecay(
                    settings.learning_rate, settings.epochs * len(batches)
                )
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            # Weighted, for the batches that are filled up for several devices.
            weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        )
    if state.epoch < settings.epochs:
        validation = _validation(settings, dataset)
        sharpen = Sharpen(
            settings.sharpness_schedule(), binarize=False, state_path=folder / "sharpness.json"
        )
        model.fit(
            batches,
            validation_data=validation,
            initial_epoch=state.epoch,
            epochs=settings.epochs,
            shuffle=False,
            verbose=0,
            callbacks=[
                HardValidation(validation),
                sharpen,
                *_tensorboard(settings, dataset, folder, say),
                *([ShowProgress(settings.epochs)] if progress else []),
                KeepRun(state, checkpoints, folder, settings.epochs, say),
            ],
        )


def _validation(settings: TrainSettings, dataset: ImageDataset) -> Batches:
    return dataset.batches(
        "validation", settings.batch_size, threads=settings.threads, multiple_of=settings.devices
    )


def _tensorboard(
    settings: TrainSettings, dataset: ImageDataset, folder: Path, say: Callable[[str], None]
) -> list[Any]:
    if not settings.tensorboard:
        return []
    missing = [name for name in ("tensorflow", "tensorboard") if importlib.util.find_spec(name) is None]
    if missing:
        say(f"no logs for TensorBoard: pip install {' '.join(missing)}")
        return []
    x, _ = dataset.arrays("validation", _MONITORED)
    logs = folder / "logs"
    return [Monitor(x, logs), keras.callbacks.TensorBoard(str(logs), write_graph=False)]


def _harden(
    settings: TrainSettings, dataset: ImageDataset, model: Any, state: RunState
) -> dict[str, float]:
    """Makes the network hard, with statistics of its own, and returns the accuracies on the way."""
    last = {name: values[-1] for name, values in state.history.items()}
    accuracy = {"soft": last["val_accuracy"], "hard": last["val_hard_accuracy"]}
    binarize(model)
    if settings.reestimate_samples:
        part = dataset.train.take(settings.reestimate_samples, settings.seed)
        reestimate_batch_normalization(
            model,
            # Augmented as in training: the statistics belong to what the network was trained on.
            Batches(
                part.images,
                part.labels,
                dataset.input_scaling,
                min(256, len(part)),
                augmentation=dataset.augmentation,
                seed=settings.seed,
            ),
        )
        found = model.evaluate(_validation(settings, dataset), verbose=0, return_dict=True)
        accuracy["reestimated"] = float(found["accuracy"])
    return accuracy


def _deploy(
    settings: TrainSettings,
    dataset: ImageDataset,
    model: Any,
    state: RunState,
    accuracy: dict[str, float],
    folder: Path,
    say: Callable[[str], None],
) -> TrainResult:
    from keras_sbn.conversion.convert import convert
    from keras_sbn.folding.fold import fold
    from keras_sbn.summary import summary
    from keras_sbn.training.page import write_page
    from keras_sbn.verification.verify import verify

    say("folding, converting, and comparing the files with the model")
    folded = fold(
        model,
        input_scaling=dataset.input_scaling,
        quantize_first_layer=settings.quantize_first_layer,
    )
    save_model(folded, folder / "folded.keras")
    correct, unlike = 0, 0
    for images, labels in _chunks(dataset):
        classes = decisions(folded.predict_on_batch(images))
        correct += int(np.count_nonzero(classes == labels))
        hard = decisions(model.predict_on_batch(dataset.scaled(images)))
        unlike += int(np.count_nonzero(classes != hard))
    accuracy["folded"] = correct / len(dataset.validation)
    files = []
    reports = {}
    for target in settings.targets:
        converted = convert(folded, target=target, labels=dataset.class_names)
        name = f"model_{target}.tflite"
        converted.save(folder / name)
        reports[name] = converted.report
        samples = decisions_unlike = outputs_unlike = 0
        if why_not_run(target) is None:
            found = verify(converted, folded, (x for x, _ in _chunks(dataset, settings.verify_samples)))
            samples, outputs_unlike = found.samples, found.differing_outputs
            decisions_unlike = found.differing_decisions
            if not found:
                say(f"{name}: {found}")
        layers = tuple(asdict(layer) for layer in converted.report.layers)
        files.append(
            FileResult(name, len(converted.content), samples, decisions_unlike, outputs_unlike, layers)
        )
    result = TrainResult(
        folder=str(folder),
        accuracy=accuracy,
        validation_images=len(dataset.validation),
        folded_unlike_hard=unlike,
        float_bytes=summary(model).float_memory // 8,
        files=tuple(files),
        history=state.history,
        seconds=state.seconds,
    )
    write_atomically(folder / "result.json", json.dumps(result.to_dict(), indent=2).encode())
    write_page(folder / "report.html", settings, dataset, model, state, result, reports)
    written = ["model.keras", "folded.keras", *reports, "history.csv", "run.toml", DATA, "result.json"]
    written.append("report.html")
    say(f"\n{result}\n\nwritten to {folder}: {', '.join(written)}")
    return result


def _chunks(
    dataset: ImageDataset, count: int | None = None, size: int = 128
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Validation images as uint8 with their labels; of fewer than all, evenly spread ones."""
    split = dataset.validation
    total = len(split) if count is None else min(count, len(split))
    where = np.linspace(0, len(split) - 1, total).round().astype(int)
    for start in range(0, total, size):
        rows = where[start : start + size]
        yield split.images[rows], split.labels[rows]
