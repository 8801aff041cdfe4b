"""A whole training: data, model, fit with checkpoints, fold, convert, verify, report."""

from __future__ import annotations

import importlib.util
import json
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_sbn.averaging import KernelMean
from keras_sbn.binarize import binarize, decisions
from keras_sbn.callbacks import HardValidation, Monitor, Sharpen
from keras_sbn.data import Batches, ImageDataset
from keras_sbn.files import save_model, write_atomically
from keras_sbn.statistics import reestimate_batch_normalization
from keras_sbn.tflite.interpreter import TFLITE_RUNTIMES
from keras_sbn.training.callbacks import KeepRun, write_history
from keras_sbn.training.checkpoints import Checkpoints, RunState, check_same_network
from keras_sbn.training.devices import on_devices
from keras_sbn.training.lock import locked, remove_leftovers
from keras_sbn.training.result import FileResult, TrainResult
from keras_sbn.training.settings import TrainSettings

#: The packages that each part of a run needs, one of them, as they are imported, and their extra.
_NEEDED = {
    "lce": (("larq_compute_engine",), "lce"),
    "tflite": (tuple(TFLITE_RUNTIMES), "litert"),
    "report": (("matplotlib",), "plot"),
}
_MONITORED = 64


def train(
    settings: TrainSettings,
    out: str | os.PathLike[str],
    resume: bool = False,
    print_fn: Callable[[str], None] = print,
    *,
    say: Callable[[str], None] | None = None,
) -> TrainResult:
    """Trains, folds, converts and verifies a network, and reports on it.

    Writes into `out`: `run.toml` (the settings), `history.csv`, `checkpoints/` (the last two epochs, and
    `best.keras`, that of the highest hard validation accuracy), `logs/` for TensorBoard, `model.keras`
    (the last epoch, hard), `model_lce.tflite`, `model_tflite.tflite`, `result.json` and `report.html`.

    The recipe: Adam with a cosine decay, cross-entropy, the sharpness schedule of the settings, and at
    the end frozen kernels and the accumulated batch-normalization statistics of the network of signs.
    What is trained depends on the settings alone: a run that is killed and resumed sees the same images
    with the same sharpness, and ends with the same files. A run whose loss is NaN stops; its last good
    epoch is kept.

    Args:
        settings: What to train, on what, and how.
        out: Folder of the run; made where missing.
        resume: Whether to go on with a run that is in `out`, from its last checkpoint.
        print_fn: Receives lines of progress.
        say: Deprecated name of `print_fn`.

    Returns:
        A `TrainResult`; `print` shows it as a table.

    Raises:
        ImportError: If a package is missing that the run will need; nothing is trained then.
        ValueError: If a setting does not fit, `out` holds another run or damaged files, another process
            trains in it, or the training diverges.
        OSError: If `out` cannot be written.
    """
    if settings.backend not in (None, keras.backend.backend()):
        raise ValueError(
            f"Expected the backend {settings.backend!r}. Received: Keras runs on "
            f"{keras.backend.backend()!r}; set KERAS_BACKEND={settings.backend} before Keras is "
            "imported, or start the training with `keras-sbn train`."
        )
    if say is not None:
        warnings.warn(
            "`say` of train is `print_fn` now; the old name goes in the next release.",
            DeprecationWarning,
            stacklevel=2,
        )
        print_fn = say
    _require_packages(settings)
    settings = replace(settings, backend=keras.backend.backend())
    folder = Path(out)
    with locked(folder):
        return _train(settings, folder, resume, print_fn)


def _train(
    settings: TrainSettings, folder: Path, resume: bool, print_fn: Callable[[str], None]
) -> TrainResult:
    checkpoints = Checkpoints(folder / "checkpoints")
    _check_folder(settings, folder, resume)
    remove_leftovers(folder)
    settings.save(folder / "run.toml")

    keras.utils.set_random_seed(settings.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(settings.dtype_policy)
    try:
        dataset = settings.load_data()
        print_fn(
            f"{dataset.name}: {len(dataset.train)} images to train on, {len(dataset.validation)} to "
            f"validate on, {dataset.classes} classes, {dataset.input_shape}"
        )
        with on_devices(settings.devices):
            model, state = _fit(settings, dataset, checkpoints, folder, print_fn)
            accuracy = _harden(settings, dataset, model, state)
    finally:
        keras.config.set_dtype_policy(before)
    save_model(model, folder / "model.keras")
    # From here on the one that was saved, on one device.
    model = keras.models.load_model(folder / "model.keras", compile=False)
    return _deploy(settings, dataset, model, state, accuracy, folder, print_fn)


def _require_packages(settings: TrainSettings) -> None:
    """Fails before a long training and not after it."""
    for part, (modules, extra) in _NEEDED.items():
        needed = part in settings.targets or part == "report"
        if needed and not any(importlib.util.find_spec(module) for module in modules):
            raise ImportError(
                f"This run needs {' or '.join(modules)} at its end: pip install 'keras-sbn[{extra}]'"
                + ("" if part == "report" else f", or leave {part!r} out of `targets`")
            )


def _check_folder(settings: TrainSettings, folder: Path, resume: bool) -> None:
    stored = folder / "run.toml"
    has_run = stored.exists() or any((folder / "checkpoints").glob("epoch-*"))
    if has_run and not resume:
        raise ValueError(
            f"Expected an empty folder for a new run. Received: {folder}, which holds one; go on with it "
            "(--resume), or take another folder."
        )
    if stored.exists():
        found = replace(TrainSettings.read_whole(stored), backend=settings.backend)
        changed = [name for name, value in asdict(settings).items() if value != asdict(found)[name]]
        if changed:
            raise ValueError(
                f"Expected the settings of the run in {folder} to resume it. Received others for: "
                f"{', '.join(changed)}"
            )


def _fit(
    settings: TrainSettings,
    dataset: ImageDataset,
    checkpoints: Checkpoints,
    folder: Path,
    print_fn: Callable[[str], None],
) -> tuple[Any, RunState]:
    found = checkpoints.load(print_fn)
    if found is None:
        model, state = settings.build_model(dataset), RunState()
    else:
        model, state = found
        check_same_network(model, settings.build_model(dataset), checkpoints.path(state.epoch))
        print_fn(f"resuming after epoch {state.epoch} of {settings.epochs}")
        # A process that was killed after the checkpoint has not written it.
        write_history(folder, state)
    batches = dataset.batches(
        "train",
        settings.batch_size,
        seed=settings.seed,
        first_epoch=state.epoch,
        threads=settings.threads,
        multiple_of=settings.devices,
    )
    if found is None:
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
                *_tensorboard(settings, dataset, folder, print_fn),
                KeepRun(state, checkpoints, folder, settings.epochs, print_fn),
            ],
        )
    # Of a process that was killed after its last epoch.
    KernelMean.remove(folder / "sharpness.npz")
    return model, state


def _validation(settings: TrainSettings, dataset: ImageDataset) -> Batches:
    return dataset.batches(
        "validation", settings.batch_size, threads=settings.threads, multiple_of=settings.devices
    )


def _tensorboard(
    settings: TrainSettings, dataset: ImageDataset, folder: Path, print_fn: Callable[[str], None]
) -> list[Any]:
    if not settings.tensorboard:
        return []
    x, _ = dataset.arrays("validation", _MONITORED)
    missing = [name for name in ("tensorflow", "tensorboard") if importlib.util.find_spec(name) is None]
    if missing:
        print_fn(f"no logs for TensorBoard: pip install {' '.join(missing)}")
        # Its figures are in the history all the same: what is installed changes no checkpoint.
        return [Monitor(x)]
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
    print_fn: Callable[[str], None],
) -> TrainResult:
    from keras_sbn.conversion.convert import convert
    from keras_sbn.folding.fold import fold
    from keras_sbn.summary import summary
    from keras_sbn.training.page import write_page
    from keras_sbn.verification.verify import verify

    print_fn("folding, converting, and comparing the files with the model")
    folded = fold(
        model,
        input_scaling=dataset.input_scaling,
        quantize_first_layer=settings.quantize_first_layer,
    )
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
        found = verify(converted, folded, (x for x, _ in _chunks(dataset, settings.verify_samples)))
        reports[name] = converted.report
        files.append(
            FileResult(
                name,
                len(converted.content),
                found.samples,
                found.differing_decisions,
                found.differing_outputs,
                tuple(asdict(layer) for layer in converted.report.layers),
            )
        )
        if not found:
            print_fn(f"{name}: {found}")
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
    written = ["model.keras", *reports, "history.csv", "run.toml", "result.json", "report.html"]
    print_fn(f"\n{result}\n\nwritten to {folder}: {', '.join(written)}")
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
