"""The float model of a run beside the binary one: as it is, and as TensorFlow quantizes it to int8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_sbn.binarize import decisions
from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.extras import installed, remedy
from keras_sbn.files import write_atomically
from keras_sbn.training.beside import FLOAT, INT8, Beside
from keras_sbn.training.float_models import accuracy_of, read_classifier
from keras_sbn.training.result import FileResult
from keras_sbn.training.tensorflow_files import tensorflow_files

if TYPE_CHECKING:
    from keras_sbn.data import ImageDataset
    from keras_sbn.verification.latency import Latency

#: Training images from which the ranges of int8 values follow.
_IMAGES = 200


def write_float_files(
    path: str, dataset: ImageDataset, folder: Path, print_fn: Callable[[str], None]
) -> tuple[dict[str, ConvertedModel], str]:
    """Writes the float model's files, float32 and int8, where TensorFlow is installed.

    Returns:
        The files by name, and why there are none.
    """
    if not installed("tensorflow"):
        return {}, f"TensorFlow, whose converter makes it, is not installed; {remedy('tensorflow')}"
    rows = np.linspace(0, len(dataset.train) - 1, min(_IMAGES, len(dataset.train))).round().astype(int)
    try:
        contents = tensorflow_files(path, dataset.scaled(dataset.train.images[rows]))
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = f"TensorFlow did not convert it: {lines[0]}"
        print_fn(f"no float and int8 files to compare with: {reason}")
        return {}, reason
    found = {}
    for name, content in zip((FLOAT, INT8), contents, strict=True):
        write_atomically(folder / name, content)
        found[name] = ConvertedModel.load(content)
    return found, ""


def accuracy_of_file(file: ConvertedModel, dataset: ImageDataset, size: int = 256) -> float:
    """The share of validation images that a file recognizes."""
    correct = 0
    for start in range(0, len(dataset.validation), size):
        rows = np.arange(start, min(start + size, len(dataset.validation)))
        outputs = file.predict(dataset.scaled(dataset.validation.images[rows]))
        correct += int(np.count_nonzero(decisions(outputs) == dataset.validation.labels[rows]))
    return correct / len(dataset.validation)


def side_by_side(
    source: str,
    dataset: ImageDataset,
    float_files: dict[str, ConvertedModel],
    reason: str,
    measured: dict[str, Latency],
    files: list[FileResult],
    binary_accuracy: float,
) -> tuple[Beside, ...]:
    """Float, int8 and binary, a row each.

    Args:
        source: The `.keras` file of the float model.
        dataset: The images.
        float_files: Its files, by name.
        reason: Why there are none.
        measured: Latencies by name of the file.
        files: The binary network's.
        binary_accuracy: Its accuracy.
    """
    accuracy, _ = accuracy_of(read_classifier(source, "--from", dataset), dataset, "--from")
    found = []
    for name, title in ((FLOAT, "float32"), (INT8, "int8, post-training")):
        file = float_files.get(name)
        if file is None:
            found.append(Beside(title, accuracy if name == FLOAT else None, None, None, reason))
            continue
        of_file = accuracy if name == FLOAT else accuracy_of_file(file, dataset)
        note = f"{name}, of TensorFlow, in {measured[name].runtime}"
        found.append(Beside(title, of_file, len(file.content), measured[name].median_ms, note))
    for one in files:
        note = f"{one.name}, in {one.runtime}" if one.runtime else f"{one.name}, not run here"
        found.append(Beside("binary", binary_accuracy, one.bytes, one.median_ms, note))
    return tuple(found)
