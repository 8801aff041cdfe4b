"""Float models that a run starts from or learns from: read, and checked against the data set."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sbn.binarize import decisions
from keras_sbn.training.soft_labels import SIGMOID, forms_of

if TYPE_CHECKING:
    from keras_sbn.data import ImageDataset


def read_model(path: str, flag: str) -> Any:
    """Reads the `.keras` file that an option names.

    Raises:
        ValueError: If it is none, or does not load.
    """
    if not Path(path).is_file():
        raise ValueError(
            f"Expected the .keras file of a model in {flag}. Received: {path}, which is no file"
        )
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # What Keras raises depends on where the file is damaged.
        lines = str(error).strip().splitlines() or ["no message"]
        raise ValueError(
            f"Expected the .keras file of a model in {flag}. Received: {path} ({type(error).__name__}: "
            f"{lines[0]})"
        ) from error


def read_classifier(path: str, flag: str, dataset: ImageDataset) -> Any:
    """Reads a model of the images and classes of a data set.

    Raises:
        ValueError: If it is none; the message says which option helps.
    """
    model = read_model(path, flag)
    try:
        inputs, outputs = list(model.inputs), list(model.outputs)
    except (AttributeError, ValueError, TypeError):
        inputs = outputs = []
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"Expected a Functional or Sequential model of one input and one output in {flag}. "
            f"Received: {path} "
            f"with {len(inputs)} and {len(outputs)}"
        )
    shape = tuple(inputs[0].shape[1:])
    wanted = dataset.input_shape
    if len(shape) != 3 or any(a not in (None, b) for a, b in zip(shape, wanted, strict=True)):
        size = " ".join(str(side) for side in shape[:2])
        raise ValueError(
            f"Expected a model of images {dataset.input_shape} in {flag}. Received: {path}, of {shape}; "
            f"bring "
            f"the images to its size: --image-size {size}"
        )
    classes = tuple(outputs[0].shape[1:])
    if classes != (dataset.classes,):
        raise ValueError(
            f"Expected a model of the {dataset.classes} classes of {dataset.name} in {flag}. Received: "
            f"{path}, "
            f"with outputs {classes}"
        )
    if forms_of(model, None, "from_logits") == [SIGMOID]:
        raise ValueError(
            f"Expected a model that ends in logits or a softmax in {flag}. Received: {path}, which ends "
            f"in a "
            "sigmoid: its classes do not exclude each other"
        )
    return model


def accuracy_of(model: Any, dataset: ImageDataset, flag: str) -> tuple[float, str | None]:
    """The share of validation images that a float model recognizes, and what to say of chance."""
    correct, size = 0, 256
    for start in range(0, len(dataset.validation), size):
        rows = np.arange(start, min(start + size, len(dataset.validation)))
        outputs = model.predict_on_batch(dataset.scaled(dataset.validation.images[rows]))
        correct += int(np.count_nonzero(decisions(outputs) == dataset.validation.labels[rows]))
    accuracy = correct / len(dataset.validation)
    if accuracy > 2 / dataset.classes:
        return accuracy, None
    scale, offset = dataset.input_scaling
    return accuracy, (
        f"the model of {flag} recognizes {100 * accuracy:.1f} % of the validation images, which is "
        f"about chance. "
        f"It gets {scale:g} * image + {offset:g}: where it was trained on others, say so with "
        f"--input-scaling, "
        "such as 1/255 0; and classes are numbered in the order of their names"
    )


def checksum(path: str) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
