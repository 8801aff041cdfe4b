"""A whole training: data, model, fit with checkpoints, fold, convert, verify, report."""

from __future__ import annotations

import importlib.util
import json
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sbn.averaging import KernelMean
from keras_sbn.binarize import binarize, decisions
from keras_sbn.callbacks import HardValidation, Monitor, Sharpen
from keras_sbn.data import Batches, ImageDataset
from keras_sbn.extras import installed, remedy, why_not_run
from keras_sbn.files import save_model, write_atomically
from keras_sbn.statistics import reestimate_batch_normalization
from keras_sbn.tflite.schema import schema
from keras_sbn.training.callbacks import KeepRun, write_history
from keras_sbn.training.checkpoints import Checkpoints, RunState, check_same_network
from keras_sbn.training.devices import on_devices
from keras_sbn.training.float_models import accuracy_of, read_classifier
from keras_sbn.training.folder import DATA, begin, check_folder
from keras_sbn.training.lock import locked, remove_leftovers
from keras_sbn.training.mistakes import Mistakes
from keras_sbn.training.progress import ShowProgress
from keras_sbn.training.result import FileResult, TrainResult
from keras_sbn.training.settings import TrainSettings
from keras_sbn.training.soft_labels import LOGITS, forms_of

if TYPE_CHECKING:
    from keras_sbn.conversion.converted import ConvertedModel
    from keras_sbn.training.beside import Beside

_MONITORED = 64


def train(
    settings: TrainSettings,
    out: str | os.PathLike[str],
    resume: bool = False,
    print_fn: Callable[[str], None] = print,
    *,
    overwrite: bool = False,
    progress: bool = False,
    say: Callable[[str], None] | None = None,
) -> TrainResult:
    """Trains, folds, converts and verifies a network, and reports on it.

    Writes into `out`: `run.toml` (the settings), `data.json` (classes and input scaling of the data),
    `history.csv`, `checkpoints/` (the last two epochs, and `best.keras`, that of the highest hard
    validation accuracy), `logs/` for TensorBoard, `model.keras` (the last epoch, hard), `folded.keras`
    (which takes 8-bit images), `model_lce.tflite`, `model_tflite.tflite`, `result.json` and
    `report.html`. Nothing is written before the data are loaded and the model is built.

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
        overwrite: Whether a run that is in `out` is removed first; other files there stay.
        progress: Whether to write the progress within an epoch to standard error, in one line that is
            overwritten.
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
    _require_packages(settings, print_fn)
    settings = replace(settings, backend=keras.backend.backend())
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"Expected a folder for the run. Received: {folder}, which is a file")
    with locked(folder):
        return _train(settings, folder, resume, print_fn, overwrite, progress)


def _train(
    settings: TrainSettings,
    folder: Path,
    resume: bool,
    print_fn: Callable[[str], None],
    overwrite: bool,
    progress: bool,
) -> TrainResult:
    check_folder(settings, folder, resume, overwrite)
    remove_leftovers(folder)
    checkpoints = Checkpoints(folder / "checkpoints")
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
            found = None if overwrite else checkpoints.load(print_fn)
            model, state = found or (settings.build_model(dataset), RunState())
            if state.epoch:
                path = checkpoints.path(state.epoch)
                check_same_network(model, settings.build_model(dataset), path)
            trained = settings.taught(model, dataset)
            if settings.source is not None:
                _say_source(settings, dataset, bool(state.epoch), print_fn)
            # Only now, so that a mistake in the settings leaves no folder behind.
            begin(settings, dataset, folder, overwrite)
            _fit(settings, dataset, trained, model, state, checkpoints, folder, print_fn, progress)
            accuracy = _harden(settings, dataset, model, state)
    finally:
        keras.config.set_dtype_policy(before)
    save_model(model, folder / "model.keras")
    # From here on the one that was saved, on one device.
    model = keras.models.load_model(folder / "model.keras", compile=False)
    return _deploy(settings, dataset, model, state, accuracy, folder, print_fn)


def _require_packages(settings: TrainSettings, print_fn: Callable[[str], None]) -> None:
    """Fails before a long training and not after it."""
    if not installed("matplotlib"):
        raise ImportError(f"The report of a run needs matplotlib: {remedy('plot')}")
    if settings.targets:
        schema()
    for target in settings.targets:
        reason = why_not_run(target)
        if reason is not None:
            print_fn(f"the file for {target} will be written, and not compared with the model: {reason}")


def _say_source(
    settings: TrainSettings, dataset: ImageDataset, resumed: bool, print_fn: Callable[[str], None]
) -> None:
    """Says what the float model is, and what became of its layers."""
    if resumed:
        return
    float_model = read_classifier(str(settings.source), "--from", dataset)
    accuracy, problem = accuracy_of(float_model, dataset, "--from")
    print_fn(f"{settings.source}: {100 * accuracy:.2f} % of the validation images as a float model")
    if problem is not None:
        print_fn(f"look out: {problem}")
    print_fn(f"\n{settings.binary_model(dataset)}\n")


def _fit(
    settings: TrainSettings,
    dataset: ImageDataset,
    trained: Any,
    model: Any,
    state: RunState,
    checkpoints: Checkpoints,
    folder: Path,
    print_fn: Callable[[str], None],
    progress: bool,
) -> None:
    if state.epoch:
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
    # A student that is resumed has its optimizer, and a new pair with its teacher is not compiled.
    if not state.epoch or trained is not model:
        decay = keras.optimizers.schedules.CosineDecay(
            settings.learning_rate, settings.epochs * len(batches)
        )
        from_logits = forms_of(model, None, "from_logits") == [LOGITS]
        trained.compile(
            model.optimizer if state.epoch else keras.optimizers.Adam(decay),
            keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits),
            # Weighted, for the batches that are filled up for several devices.
            weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        )
    if state.epoch < settings.epochs:
        validation = _validation(settings, dataset)
        sharpen = Sharpen(
            settings.sharpness_schedule(), binarize=False, state_path=folder / "sharpness.json"
        )
        trained.fit(
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
                *([ShowProgress(settings.epochs)] if progress else []),
                KeepRun(state, checkpoints, folder, settings.epochs, print_fn),
            ],
        )
    # Of a process that was killed after its last epoch.
    KernelMean.remove(folder / "sharpness.npz")


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
        print_fn(f"no logs for TensorBoard: {'; '.join(map(remedy, missing))}")
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
    from keras_sbn.training.baselines import side_by_side, write_float_files
    from keras_sbn.training.page import write_page
    from keras_sbn.verification.latency import benchmark
    from keras_sbn.verification.verify import verify

    print_fn("folding, converting, and comparing the files with the model")
    folded = fold(
        model,
        input_scaling=dataset.input_scaling,
        quantize_first_layer=settings.quantize_first_layer,
    )
    save_model(folded, folder / "folded.keras")
    unlike = 0
    all_outputs, all_labels = [], []
    for images, labels in _chunks(dataset):
        outputs = folded.predict_on_batch(images)
        hard = decisions(model.predict_on_batch(dataset.scaled(images)))
        unlike += int(np.count_nonzero(decisions(outputs) != hard))
        all_outputs.append(np.asarray(outputs))
        all_labels.append(labels)
    mistakes = Mistakes.of(np.concatenate(all_outputs), np.concatenate(all_labels), dataset.class_names)
    accuracy["folded"] = mistakes.accuracy
    files = []
    reports = {}
    runnable = {}
    for target in settings.targets:
        converted = convert(folded, target=target, labels=dataset.class_names)
        name = f"model_{target}.tflite"
        converted.save(folder / name)
        reports[name] = converted.report
        samples = decisions_unlike = outputs_unlike = 0
        if why_not_run(target) is None:
            found = verify(converted, folded, (x for x, _ in _chunks(dataset, settings.verify_samples)))
            runnable[name] = converted
            samples, outputs_unlike = found.samples, found.differing_outputs
            decisions_unlike = found.differing_decisions
            if not found:
                print_fn(f"{name}: {found}")
        layers = tuple(asdict(layer) for layer in converted.report.layers)
        size = len(converted.content)
        files.append(FileResult(name, size, samples, decisions_unlike, outputs_unlike, layers))
    float_files: dict[str, ConvertedModel] = {}
    reason = ""
    if settings.source is not None:
        float_files, reason = write_float_files(settings.source, dataset, folder, print_fn)
    # Side by side, so that whatever else the machine does meets all of them alike.
    timed = {**runnable, **float_files}
    measured = dict(zip(timed, benchmark(list(timed.values())), strict=True))
    files = [
        replace(one, median_ms=measured[one.name].median_ms, runtime=measured[one.name].runtime)
        if one.name in measured
        else one
        for one in files
    ]
    beside: tuple[Beside, ...] = ()
    if settings.source is not None:
        beside = side_by_side(
            settings.source, dataset, float_files, reason, measured, files, mistakes.accuracy
        )
    result = TrainResult(
        folder=str(folder),
        accuracy=accuracy,
        validation_images=len(dataset.validation),
        folded_unlike_hard=unlike,
        float_bytes=summary(model).float_memory // 8,
        files=tuple(files),
        classes=tuple(mistakes.by_class()),
        beside=beside,
        history=state.history,
        seconds=state.seconds,
    )
    write_atomically(folder / "result.json", json.dumps(result.to_dict(), indent=2).encode())
    write_page(folder / "report.html", settings, dataset, model, state, result, reports, mistakes)
    written = ["model.keras", "folded.keras", *reports, "history.csv", "run.toml", DATA, "result.json"]
    written.append("report.html")
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
