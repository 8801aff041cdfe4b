"""From a keras_sbn model to a Larq model."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from keras_sbn.files import move_into_place
from keras_sbn.larq import process
from keras_sbn.larq.describing import describe_hard
from keras_sbn.larq.writing import build_larq, write_larq


def to_larq(model: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """Makes a Larq model of a trained keras_sbn model.

    A self-binarizing layer becomes Larq's quantized one with `ste_sign`, a scale by the mean magnitude
    `magnitude_aware_sign`, a learned scale a batch normalization after the layer, and every other layer
    its counterpart in Keras 2. The Larq model predicts as the hard model does, and is what
    `larq.models.summary` and the Larq Compute Engine's `convert_keras_model` take.

    Args:
        model: A Functional or Sequential model, hard (see `keras_sbn.binarize`).
        path: Where to save the Larq model: an `.h5` or `.keras` file, or, without a suffix, a SavedModel
            folder. Without a path the model is returned, which needs Keras 2 in this process:
            TF_USE_LEGACY_KERAS=1, set before TensorFlow was imported.

    Returns:
        The Larq model; with `path`, the path.

    Raises:
        ValueError: If the model is soft or folded, or a layer has no counterpart. The message names it.
        ImportError: If Larq is not installed.

    Example:

    >>> path = keras_sbn.larq.to_larq(model, "larq_model.h5")  # doctest: +SKIP
    """
    description = describe_hard(model)
    if path is None:
        if process.has_keras_2():
            return build_larq(description)
        raise ValueError(
            "Expected a path to save the Larq model to, where TF_USE_LEGACY_KERAS=1 is not set before "
            "TensorFlow is imported: a Larq model cannot live in this process. Received: path=None"
        )
    target = Path(path)
    if not target.parent.exists():
        raise FileNotFoundError(f"Expected a folder that exists. Received: {target.parent}")
    if target.is_dir():
        raise FileExistsError(f"Expected no folder of that name yet. Received: {target}")
    # Written beside its place and renamed: whole or not at all.
    place = Path(os.path.realpath(target))
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".keras_sbn_") as folder:
        temporary = Path(folder) / target.name
        process.beside_keras_2(write_larq, description, str(temporary))
        return move_into_place(temporary, target)
