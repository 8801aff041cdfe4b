"""What a program on a device has to know of a model that classifies images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_sbn.deployment.preprocessing import input_values
from keras_sbn.tflite.metadata import read_metadata
from keras_sbn.tflite.reader import TensorInfo, read_file


@dataclass(frozen=True, eq=False)
class ImageModel:
    """A `.tflite` file that classifies images.

    Attributes:
        content: The bytes of the file.
        shape: Height, width and channels of its input.
        values: What its input is for each of the values 0 to 255 of an image.
        labels: Its classes.
        output: Its output, one score a class.
        needs_lce: Whether it has operators of the Larq Compute Engine.
    """

    content: bytes
    shape: tuple[int, int, int]
    values: np.ndarray
    labels: tuple[str, ...]
    output: TensorInfo
    needs_lce: bool


def read_image_model(
    path: str | os.PathLike[str],
    labels: Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
) -> ImageModel:
    """Reads a file, and what it does not say of itself from the arguments.

    Args:
        path: A `.tflite` file.
        labels: Its classes; by default those of its metadata.
        input_range: What 0 and 255 become before the network sees them; by default what its metadata
            say, and (0, 255) for a file that takes the 8-bit image.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not a model of one image and one vector of scores, labels or range are
            missing, or they contradict the file.
    """
    content = Path(path).read_bytes()
    info, metadata = read_file(content), read_metadata(content)
    if len(info.inputs) != 1 or len(info.outputs) != 1:
        raise ValueError(
            f"Expected a model of one input and one output. Received: {path} with {len(info.inputs)} "
            f"inputs and {len(info.outputs)} outputs"
        )
    (source,), (target,) = info.inputs, info.outputs
    if len(source.shape) != 4 or source.shape[0] != 1 or source.shape[3] not in (1, 3):
        raise ValueError(
            "Expected a model of images: an input of shape (1, height, width, 3), or 1 channel for grey. "
            f"Received: {path}, input {source.name!r} of shape {source.shape}"
        )
    known = metadata.labels if labels is None else tuple(labels)
    if known is None:
        raise ValueError(
            f"Expected labels: {path} has none in its metadata. Give them (--labels, a text file of a "
            "class a line), or convert with labels=..."
        )
    classes = int(np.prod(target.shape))
    if len(known) != classes:
        raise ValueError(
            f"Expected a label for each of the {classes} classes of {path}. Received: {len(known)} labels"
        )
    needs_lce = any(op.name.startswith("Lce") for op in info.operators)
    values = _values(source, input_range or metadata.input_range, path)
    _, height, width, channels = source.shape
    return ImageModel(content, (height, width, channels), values, known, target, needs_lce)


def _values(
    source: TensorInfo, input_range: tuple[float, float] | None, path: str | os.PathLike[str]
) -> np.ndarray:
    raw = source.dtype == "uint8" and source.scales in ((), (1.0,)) and source.zero_points in ((), (0,))
    if input_range is None and not raw:
        raise ValueError(
            f"Expected an input range: {path} takes {source.dtype} and does not say what "
            "becomes of 0 and 255 of an image. Give it (--input-range 0 1 if the network was "
            "trained on image / 255), or convert with input_range=..."
        )
    low, high = (0.0, 255.0) if input_range is None else input_range
    if not low < high:
        raise ValueError(
            f"Expected an input range (low, high), low below high. Received: {low:g} and {high:g}"
        )
    if raw and (low, high) != (0.0, 255.0):
        raise ValueError(
            f"Expected the input range 0 to 255: {path} takes the 8-bit image itself. Received: {low:g} "
            f"to {high:g}"
        )
    scale = source.scales[0] if source.scales else 1.0
    zero_point = source.zero_points[0] if source.zero_points else 0
    return input_values(source.dtype, (low, high), scale, zero_point)
