"""What a network loses by one layer that is binary, or int8, while all others stay float.

*Binary*: the network in which this layer alone is binary (`binary_model`), started from the weights of
the float one, is trained for some batches to say what the float network says, made hard, and classifies
the held-out samples. *int8*: the kernel is rounded to 8 bits, one scale an output channel, and nothing is
trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.binarize import binarize, decisions
from keras_sbn.callbacks import Sharpen
from keras_sbn.from_keras.binary_model import BinaryModel, binary_model
from keras_sbn.statistics import reestimate_batch_normalization
from keras_sbn.summary import ModelSummary, summary

#: Largest number of samples from which batch-normalization statistics are estimated.
_ESTIMATED = 2000
#: The learning rate of the short trainings: Adam's own.
_RATE = 1e-3


@dataclass(frozen=True)
class Samples:
    """Inputs and classes to train on, and others to measure on."""

    train: Any
    held_out: Any
    labels: np.ndarray


@dataclass(frozen=True)
class Sensitivity:
    """What one layer costs and loses, by precision.

    Attributes:
        name: Name of the layer.
        kind: Name of its class.
        bytes: Of the whole network with this layer in that precision, less those of the float network.
        macs: Multiply-accumulates that are not binary, likewise.
        losses: Share of held-out samples that the float network classifies rightly and this one does not,
            net; negative where it gains.
        reasons: Why a precision is not there.
    """

    name: str
    kind: str
    bytes: dict[str, float]
    macs: dict[str, int]
    losses: dict[str, float]
    reasons: dict[str, str]


@dataclass(frozen=True)
class Cost:
    """Bytes of a network's parameters, and multiply-accumulates of a sample that are not binary."""

    bytes: float
    macs: int


def cost_of(model: Any, int8: frozenset[str] = frozenset()) -> Cost:
    """What a network costs, where the kernels of the layers in `int8` take 8 bits a weight."""
    found: ModelSummary = summary(model)
    kernels = sum(kernel_size(model.get_layer(name)) for name in int8)
    return Cost((found.memory - 24 * kernels) / 8, found.float_macs)


def kernel_size(layer: Any) -> int:
    """Number of weights in the kernels of a layer."""
    return sum(int(np.prod(weight.shape)) for weight in kernels_of(layer))


def kernels_of(layer: Any) -> list[Any]:
    """The weights of a float layer that are multiplied."""
    return [weight for weight in layer.weights if weight.name.endswith("kernel")]


def accuracy(model: Any, samples: Samples) -> float:
    """Share of the held-out samples that are classified rightly."""
    outputs = model.predict(samples.held_out, batch_size=256, verbose=0)
    return float(np.mean(decisions(outputs).reshape(-1) == samples.labels))


def measure(
    model: Any,
    layer: Any,
    precisions: tuple[str, ...],
    samples: Samples,
    steps: int,
    batch_size: int,
    float_accuracy: float,
    float_cost: Cost,
) -> Sensitivity:
    """Measures one layer in each of these precisions."""
    sizes, macs, losses, reasons = {"float": 0.0}, {"float": 0}, {"float": 0.0}, {}
    if "float" not in precisions:
        sizes, macs, losses = {}, {}, {}
    if "int8" in precisions:
        sizes["int8"], macs["int8"] = -3.0 * kernel_size(layer), 0
        losses["int8"] = float_accuracy - _rounded(model, layer, samples)
    if "binary" in precisions:
        try:
            one = binary_model(model, policy=only(layer))
        except ValueError as error:
            reasons["binary"] = str(error)
        else:
            found = cost_of(one.model)
            sizes["binary"] = found.bytes - float_cost.bytes
            macs["binary"] = found.macs - float_cost.macs
            losses["binary"] = float_accuracy - after_training(one, model, samples, steps, batch_size)
    return Sensitivity(layer.name, type(layer).__name__, sizes, macs, losses, reasons)


def only(layer: Any) -> Callable[[Any], str]:
    """The policy that makes this layer binary and no other."""
    return lambda other: "binary" if other is layer else "float"


def after_training(
    made: BinaryModel, teacher: Any, samples: Samples, steps: int, batch_size: int
) -> float:
    """The accuracy of the hard network after so many batches of learning from the float one."""
    if steps:
        _learn(made.model, teacher, samples, steps, batch_size)
    binarize(made.model)
    some = keras.tree.map_structure(lambda values: np.asarray(values)[:_ESTIMATED], samples.train)
    reestimate_batch_normalization(made.model, some)
    return accuracy(made.model, samples)


def _learn(model: Any, teacher: Any, samples: Samples, steps: int, batch_size: int) -> None:
    # It is of a room above, which asks this one for binary networks.
    from keras_sbn.training.distillation import Distillation

    count = len(keras.tree.flatten(samples.train)[0])
    size = min(batch_size, count)
    rows = np.concatenate(
        [np.random.default_rng(epoch).permutation(count) for epoch in range(-(-steps * size // count))]
    )[: steps * size]
    x = keras.tree.map_structure(lambda values: np.asarray(values)[rows], samples.train)
    pair = Distillation(model, teacher)
    pair.compile(keras.optimizers.Adam(_RATE), jit_compile=keras.backend.backend() == "jax")
    sharpen = Sharpen(binarize=False)
    pair.fit(x, batch_size=size, shuffle=False, verbose=0, callbacks=[sharpen])


def _rounded(model: Any, layer: Any, samples: Samples) -> float:
    """The accuracy with this layer's kernels rounded to int8."""
    before = [ops.convert_to_numpy(weight) for weight in kernels_of(layer)]
    try:
        for weight, values in zip(kernels_of(layer), before, strict=True):
            largest = np.abs(values).max(axis=tuple(range(values.ndim - 1)), keepdims=True)
            scale = np.where(largest == 0, 1.0, largest / 127)
            weight.assign((np.round(values / scale) * scale).astype(values.dtype))
        return accuracy(model, samples)
    finally:
        for weight, values in zip(kernels_of(layer), before, strict=True):
            weight.assign(values)
