"""Making a network hard, and saying how far from binary it was."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.batches import batches, check_can_be_read_twice
from keras_sbn.layers import BinaryBatchNormalization
from keras_sbn.layers.base import SelfBinarizingKernelLayer, SelfBinarizingLayer
from keras_sbn.sharpness import HARD
from keras_sbn.tables import format_table

#: A soft weight counts as saturated where ``1 - |tanh|`` is at most this.
SATURATION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class BinarizedLayer:
    """How far from binary a layer was: its sharpness, and the share of its kernel within 1e-3 of ±1."""

    name: str
    sharpness: float
    saturated_weights: float | None


@dataclass(frozen=True)
class BinarizationReport:
    """What `binarize` found.

    Attributes:
        layers: One `BinarizedLayer` a self-binarizing layer.
        already_binary: Whether every layer was hard before, so that nothing changed.
        changed_predictions: Share, in [0, 1], of the given inputs whose predicted class changed; `None`
            without inputs.
    """

    layers: tuple[BinarizedLayer, ...]
    already_binary: bool
    changed_predictions: float | None = None

    def __str__(self) -> str:
        rows = [
            (
                layer.name,
                f"{layer.sharpness:.4g}",
                "" if layer.saturated_weights is None else f"{100 * layer.saturated_weights:.3f} %",
            )
            for layer in self.layers
        ]
        text = format_table(("layer", "sharpness", "saturated weights"), rows, "lrr")
        if self.changed_predictions is not None:
            text += f"\npredictions that changed: {100 * self.changed_predictions:.3f} %"
        return text


def self_binarizing_layers(model: Any) -> list[SelfBinarizingLayer]:
    """Returns the self-binarizing layers of `model`, nested at any depth, each once.

    Raises:
        ValueError: If there are none.
    """
    found = [layer for layer in model._flatten_layers() if isinstance(layer, SelfBinarizingLayer)]
    if not found:
        raise ValueError(
            "Expected a model with self-binarizing layers (keras_sbn.layers). Received: "
            f"{model.name!r} without one."
        )
    return list(dict.fromkeys(found))


def built_self_binarizing_layers(model: Any) -> list[SelfBinarizingLayer]:
    """Returns `self_binarizing_layers(model)`, all of which have their weights.

    Raises:
        ValueError: If there are none, or one is not built.
    """
    found = self_binarizing_layers(model)
    unbuilt = [layer.name for layer in found if not layer.built]
    if unbuilt:
        raise ValueError(
            f"Expected a built model. Received: {model.name!r} with unbuilt layers {unbuilt}. Call it on "
            "an input first."
        )
    return found


def normalizations(model: Any, trained: bool = False) -> list[BinaryBatchNormalization]:
    """Returns the built `BinaryBatchNormalization` layers of `model`, at any depth, each once.

    Args:
        model: A Keras model.
        trained: Whether to leave out those with `trainable=False`.
    """
    found = [layer for layer in model._flatten_layers() if isinstance(layer, BinaryBatchNormalization)]
    layers = [layer for layer in dict.fromkeys(found) if layer.built]
    return [layer for layer in layers if trains(model, layer)] if trained else layers


def trains(model: Any, layer: Any) -> bool:
    """Whether `layer` is trained by `model.fit`: neither it nor the whole model has `trainable=False`.

    Setting `trainable` of a layer sets it in all layers within, as of a nested model.
    """
    return bool(model.trainable and layer.trainable)


def sharpness_weights(model: Any) -> list[Any]:
    """Returns the sharpness weights of every self-binarizing layer of `model`.

    Raises:
        ValueError: If the model has no self-binarizing layer.
    """
    return [weight for layer in self_binarizing_layers(model) for weight in layer.sharpness_weights]


def effective_kernel(layer: SelfBinarizingLayer) -> np.ndarray | None:
    """Returns the kernel the layer computes with, as float32, or `None` without a binary kernel."""
    if not isinstance(layer, SelfBinarizingKernelLayer) or not layer.binarize_kernel:
        return None
    return ops.convert_to_numpy(ops.cast(layer.effective_kernel(), "float32"))


def latent_kernel_weights(layer: SelfBinarizingLayer) -> list[Any]:
    """Returns the weights behind the binary kernels: one or, in separable layers, two, or none."""
    if not isinstance(layer, SelfBinarizingKernelLayer) or not layer.binarize_kernel:
        return []
    return [w for w in layer.weights if w.name.endswith("kernel")]


def latent_kernels(layer: SelfBinarizingLayer) -> list[np.ndarray]:
    """Returns the values of `latent_kernel_weights`."""
    return [ops.convert_to_numpy(w) for w in latent_kernel_weights(layer)]


def saturation(layer: SelfBinarizingLayer) -> float | None:
    """Returns the share of the layer's kernel that is ±1 within 1e-3, or `None` without a kernel."""
    kernel = effective_kernel(layer)
    return None if kernel is None else saturated_share(kernel)


def saturated_share(values: np.ndarray) -> float:
    """Returns the share of `values` that are ±1 within 1e-3."""
    return float(np.mean(np.abs(values) >= 1 - SATURATION_TOLERANCE))


def set_sharpness(model: Any, sharpness: float) -> None:
    """Sets the sharpness of every self-binarizing layer of `model`.

    Args:
        model: A built Keras model.
        sharpness: Greater than 0; infinity makes the layers hard.

    Raises:
        ValueError: If `sharpness` is not greater than 0, or the model has no self-binarizing layer.
    """
    if not sharpness > 0:
        raise ValueError(f"Expected `sharpness` to be greater than 0. Received: {sharpness}")
    for weight in sharpness_weights(model):
        weight.assign(sharpness)


def binarize(model: Any, data: Any = None, *, x: Any = None) -> BinarizationReport:
    """Makes every self-binarizing layer hard at once: sign in place of tanh, in the model itself.

    Layers with `trainable=False` are made hard too. What `keras_sbn.callbacks.Sharpen` or
    `keras_sbn.sharpen` switched for the end of a training is switched back: frozen kernels, and the
    accumulation of batch-normalization statistics, whose values stay.

    Args:
        model: A built Keras model with self-binarizing layers; changed in place.
        data: Optional inputs: an array, a list of arrays (one an input), a dictionary of them by input
            name, a tuple `(inputs, targets)` of these, or an iterable of such batches that can be read
            twice. With them the report says how many predicted classes changed.
        x: Deprecated name of `data`.

    Returns:
        A `BinarizationReport`; `print` shows it as a table.

    Raises:
        ValueError: If the model has no self-binarizing layer, is not built, or has a kernel that is not
            finite, or if `data` is none of these forms.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras_sbn.layers.SelfBinarizingDense(2)])
    >>> keras_sbn.binarize(model).already_binary
    False
    >>> keras_sbn.binarize(model).already_binary
    True
    """
    if x is not None:
        warnings.warn(
            "`x` of binarize is `data` now; the old name goes in the next release.",
            DeprecationWarning,
            stacklevel=2,
        )
        data = x
    return binarize_layers(model, built_self_binarizing_layers(model), normalizations(model), data)


def binarize_layers(
    model: Any,
    layers: Sequence[SelfBinarizingLayer],
    batch_normalizations: Sequence[BinaryBatchNormalization],
    data: Any = None,
) -> BinarizationReport:
    """Does what `binarize` does to these layers of a built model alone; the report is about them."""
    check_can_be_read_twice(data, "data")
    for layer in layers:
        _check_finite(layer)
    rows = tuple(
        BinarizedLayer(layer.name, smallest_sharpness(layer), saturation(layer)) for layer in layers
    )
    already_binary = all(layer.is_hard for layer in layers)
    before = None if data is None else predicted_classes(model, data)
    for layer in layers:
        for weight in layer.sharpness_weights:
            weight.assign(HARD)
    end_freezing(layers, batch_normalizations)
    changed = None
    if before is not None:
        changed = float(np.mean(before != predicted_classes(model, data)))
    return BinarizationReport(rows, already_binary, changed)


def end_freezing(
    layers: Sequence[SelfBinarizingLayer], batch_normalizations: Sequence[BinaryBatchNormalization]
) -> None:
    """Gives frozen kernels their gradient back, and lets statistics move again."""
    for layer in layers:
        if isinstance(layer, SelfBinarizingKernelLayer):
            layer.freeze_kernel(False)
    for normalization in batch_normalizations:
        normalization.accumulate_statistics(False)


def smallest_sharpness(layer: SelfBinarizingLayer) -> float:
    """Returns the smaller sharpness of a layer that has two."""
    values = (abs(float(ops.convert_to_numpy(weight))) for weight in layer.sharpness_weights)
    return min(values, default=HARD)


def _check_finite(layer: SelfBinarizingLayer) -> None:
    count = sum(int(np.count_nonzero(~np.isfinite(kernel))) for kernel in latent_kernels(layer))
    if count:
        raise ValueError(
            f"Expected the kernel of layer {layer.name!r} to be finite. Received: {count} NaN or "
            "infinite values; the training diverged: lower the learning rate, or restore a checkpoint."
        )


def predicted_classes(model: Any, x: Any) -> np.ndarray:
    """The classes that the outputs stand for (`decisions`), for all of `x`.

    Args:
        model: A built Keras model; with several outputs, their decisions follow one another.
        x: Inputs, in any form of `keras_sbn.batches`.
    """
    found: list[list[np.ndarray]] = []
    for inputs in batches(x, name="x"):
        size = len(keras.tree.flatten(inputs)[0])
        outputs = keras.tree.flatten(model.predict_on_batch(inputs))
        # tf.distribute computes the batch on every replica and joins the outputs.
        found.append([decisions(values[:size]).ravel() for values in outputs])
    return np.concatenate([np.concatenate(one_output) for one_output in zip(*found, strict=True)])


def decisions(outputs: Any) -> np.ndarray:
    """The class an output stands for: its largest value, or its sign where there is only one."""
    values = np.asarray(outputs)
    if values.shape[-1] == 1:
        return values[..., 0] >= 0
    return values.argmax(axis=-1)


def agreement(model: Any, other: Any, x: Any, other_x: Any = None) -> float:
    """Returns the share of samples on which two models decide alike.

    Args:
        model: A Keras model of one output.
        other: Another, such as one folded with a quantized first layer.
        x: Inputs of both: an array, a list of arrays (one an input), a dictionary of them by input name,
            a tuple `(inputs, targets)` of these, or an iterable of such batches that can be read twice.
        other_x: Inputs of `other`, where they differ: the uint8 images behind `x`.

    Returns:
        A number in [0, 1]: 1 where every class, or the sign of a single output, is the same.

    Raises:
        ValueError: If `x` is none of these forms, or the numbers of decisions differ.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> keras_sbn.agreement(model, model, np.ones((2, 4)))
    1.0
    """
    if other_x is None:
        check_can_be_read_twice(x, "x")
    first = predicted_classes(model, x)
    second = predicted_classes(other, x if other_x is None else other_x)
    if first.shape != second.shape:
        raise ValueError(
            "Expected as many samples in `x` as in `other_x`, and models of as many outputs. Received: "
            f"{len(first)} and {len(second)} decisions"
        )
    return float(np.mean(first == second))
