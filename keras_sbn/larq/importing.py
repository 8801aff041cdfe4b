"""From a Larq model to a keras_sbn model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from keras_sbn.folding.fold import fold
from keras_sbn.larq import process
from keras_sbn.larq.building import build
from keras_sbn.larq.description import Description
from keras_sbn.larq.reading import describe, describe_file


def from_larq(
    model: Any,
    *,
    trainable: bool = False,
    allow_float_fallback: bool = False,
    modules: Sequence[str] = (),
    safe_mode: bool = True,
) -> Any:
    """Makes a keras_sbn model of a Larq model.

    Every layer becomes its counterpart: a quantized layer one of `keras_sbn.layers`, any other one of
    Keras 3, and operators, Lambda layers and layers of one's own what they compute. Kernels, biases and
    statistics are taken over as they are.

    Args:
        model: A Functional or Sequential Larq model, or the path of one: an `.h5` or `.keras` file, or a
            SavedModel folder. A model in memory can only be there where TF_USE_LEGACY_KERAS=1 was set
            before TensorFlow came in; a path is read in a child process where it was not. Of a folder the
            configuration and the weights are read, and not the graph.
        trainable: Whether to return the model that can be trained on, with the latent kernels. It is
            hard: it predicts as the Larq model does, and learns through the bounded gradient of
            `max_gradient_sharpness`. `keras_sbn.callbacks.Sharpen` makes it soft and hard again.
        allow_float_fallback: Whether a quantizer that is not the sign, as DoReFa's, is computed in
            float32. Otherwise it is an error.
        modules: Names of modules to import before a file is read, which register layers of their own:
            `["larq_zoo"]`.
        safe_mode: Whether to refuse a file that names anything but layers of Keras, of Larq and of
            `modules`, such as Lambda layers, before any of it is loaded. Otherwise code of the file runs:
            only for files that you trust.

    Returns:
        A folded `keras.Model`, what `keras_sbn.fold` returns, ready for `keras_sbn.convert`; with
        `trainable`, the model it is folded from.

    Raises:
        ValueError: If the file cannot be loaded, or names other code, or a layer has no counterpart. The
            message names it and says why.
        OSError: If there is no such file.
        ImportError: If Larq is not installed.

    Example:

    >>> folded = keras_sbn.larq.from_larq("larq_model.h5")  # doctest: +SKIP
    >>> keras_sbn.convert(folded).save("model.tflite")  # doctest: +SKIP
    """
    description = read(model, tuple(modules), safe_mode)
    return from_description(description, trainable, allow_float_fallback)


def read(model: Any, modules: tuple[str, ...] = (), safe_mode: bool = True) -> Description:
    """Describes a Larq model in memory or in a file."""
    if not isinstance(model, str | os.PathLike):
        if not process.has_keras_2():
            raise ValueError(
                "Expected a Larq model, or the path of one. Received: "
                f"{type(model).__module__}.{type(model).__name__}. Where TF_USE_LEGACY_KERAS=1 is not "
                "set before TensorFlow is imported, a Larq model can only be in a file."
            )
        return describe(model)
    path = os.fspath(model)
    if not os.path.exists(path):
        raise FileNotFoundError(f"Expected a file or folder of a Larq model. Received: {path}")
    found: Description = process.beside_keras_2(describe_file, path, modules, safe_mode)
    return found


def from_description(
    description: Description, trainable: bool = False, allow_float_fallback: bool = False
) -> Any:
    """Builds the model that a description describes, and folds it unless it is to be trained."""
    model = build(description, allow_float_fallback)
    return model if trainable else fold(model)
