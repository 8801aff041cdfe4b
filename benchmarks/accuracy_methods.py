"""The methods that the accuracy benchmark compares: what each one's layers are, and how it sharpens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras
from straight_through import (
    StraightThroughActivation,
    StraightThroughConv2D,
    StraightThroughDense,
)

from keras_sbn import layers, schedules

_MOMENTUM = 0.9


@dataclass(frozen=True)
class Method:
    """A way to train a network.

    Attributes:
        name: As it stands in the table and after `--methods`.
        family: `"float"`, `"straight-through"`, `"larq"` (in a process with Keras 2) or `"ours"`.
        note: What it is, for the table.
        options: What differs from the family's defaults: of `"float"` and the straight-through ones
            `activation`, of ours the arguments of `OurKit` and `schedule`.
        revision: Raised when the method changes, so that older rows count no longer.
    """

    name: str
    family: str
    note: str
    options: dict[str, Any] = field(default_factory=dict)
    revision: int = 0

    def kit(self) -> Any:
        """The layers of the method."""
        if self.family == "float":
            return FloatKit(**self.options)
        if self.family in ("straight-through", "larq"):
            return StraightThroughKit(**self.options)
        return OurKit(**{k: v for k, v in self.options.items() if k not in _SCHEDULING})

    def scheduling(self) -> dict[str, Any]:
        """Arguments of `keras_sbn.callbacks.Sharpen`."""
        made = {}
        for key in _SCHEDULES:
            if key in self.options:
                name, arguments = self.options[key]
                made[key] = getattr(schedules, name)(**arguments)
        return {
            **made,
            **{_ARGUMENTS[key]: self.options[key] for key in _ARGUMENTS if key in self.options},
        }


_SCHEDULES = ("schedule", "activation_schedule")
#: From the key of an option, which is in the hashes of the results, to the argument of Sharpen.
_ARGUMENTS = {"rest_at": "freeze_at", "weight_decay": "weight_decay"}
_SCHEDULING = (*_SCHEDULES, *_ARGUMENTS)


class FloatKit:
    """Keras's own float layers; "same" pads with zeros."""

    keras = keras

    def __init__(self, activation: str) -> None:
        self._activation = activation

    def conv(self, filters: int, strides: int, first: bool) -> Any:
        return keras.layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)

    def dense(self, units: int) -> Any:
        return keras.layers.Dense(units, use_bias=False)

    def normalization(self) -> Any:
        return keras.layers.BatchNormalization(momentum=_MOMENTUM)

    def activation(self) -> Any:
        return keras.layers.Activation(self._activation)


class StraightThroughKit:
    """Straight-through layers; the first pads the image with zeros, the others pad with ones."""

    keras = keras

    def __init__(self, activation: str) -> None:
        self._activation = activation

    def conv(self, filters: int, strides: int, first: bool) -> Any:
        return StraightThroughConv2D(filters, 3, strides, 0.0 if first else 1.0)

    def dense(self, units: int) -> Any:
        return StraightThroughDense(units)

    def normalization(self) -> Any:
        return keras.layers.BatchNormalization(momentum=_MOMENTUM)

    def activation(self) -> Any:
        return StraightThroughActivation(self._activation)


class OurKit:
    """The layers of this package.

    Args:
        kernel: Arguments of the layers that have a kernel, beside the shape.
        activation: Arguments of `SelfBinarizingActivation`.
        normalization: Arguments of `BinaryBatchNormalization`; `"keras"` takes Keras's own layer.
    """

    keras = keras

    def __init__(
        self,
        kernel: dict[str, Any] | None = None,
        activation: dict[str, Any] | None = None,
        normalization: dict[str, Any] | str | None = None,
    ) -> None:
        self._kernel, self._activation = kernel or {}, activation or {}
        self._normalization = {} if normalization is None else normalization

    def conv(self, filters: int, strides: int, first: bool) -> Any:
        pad_value = 0.0 if first else 1.0
        return layers.SelfBinarizingConv2D(
            filters, 3, strides=strides, padding="same", pad_value=pad_value, **self._kernel
        )

    def dense(self, units: int) -> Any:
        return layers.SelfBinarizingDense(units, **self._kernel)

    def normalization(self) -> Any:
        if self._normalization == "keras":
            return keras.layers.BatchNormalization(momentum=_MOMENTUM)
        return layers.BinaryBatchNormalization(**self._normalization)

    def activation(self) -> Any:
        return layers.SelfBinarizingActivation(**self._activation)


#: Raised when the package's defaults change, of which every method of ours has most.
_DEFAULTS = 5


def _ours(name: str, note: str, **options: Any) -> Method:
    return Method(name, "ours", note, options, _DEFAULTS)


_SHARP = {"max_gradient_sharpness": 5.0}
_EXACT = {"max_gradient_sharpness": None}

#: Every method, by name. "ours" has no options: it is what the package does by default.
METHODS = {
    method.name: method
    for method in (
        Method("float-relu", "float", "float32, ReLU", {"activation": "relu"}),
        Method("float-tanh", "float", "float32, tanh", {"activation": "tanh"}),
        Method("ste", "straight-through", "straight-through, ste_sign", {"activation": "ste"}),
        Method("approx", "straight-through", "straight-through, approx_sign", {"activation": "approx"}),
        Method("swish", "straight-through", "straight-through, swish_sign", {"activation": "swish"}),
        Method("larq-ste", "larq", "Larq, ste_sign", {"activation": "ste"}),
        Method("larq-approx", "larq", "Larq, approx_sign", {"activation": "approx"}),
        Method("larq-swish", "larq", "Larq, swish_sign", {"activation": "swish"}),
        _ours(
            "exact",
            "the paper's exact gradient",
            kernel={**_EXACT},
            activation={**_EXACT},
            weight_decay=None,
        ),
        _ours(
            "exact-30",
            "the paper's exact gradient, ν: 1 → 30 over the whole training",
            kernel={**_EXACT},
            activation={**_EXACT},
            weight_decay=None,
            schedule=("Exponential", {"end": 30.0, "end_at": 1.0}),
        ),
        _ours("ours", "self-binarizing, defaults"),
        # What each ingredient of the defaults does: one of them changed, the others as they are.
        _ours("no-rest", "kernels never rest, statistics never settle", rest_at=None),
        _ours("rest-0.9", "kernels rest from 0.9 of training on", rest_at=0.9),
        _ours("no-decay", "no weight decay", weight_decay=None),
        _ours("finite-end", "the last sharpness is 1e7", schedule=("Exponential", {"hard": False})),
        _ours("end-0.5", "hard from half of training", schedule=("Exponential", {"end_at": 0.5})),
        _ours("end-0.25", "hard from a quarter", schedule=("Exponential", {"end_at": 0.25})),
        _ours("hard-start", "hard nearly from the start", schedule=("Exponential", {"end_at": 0.001})),
        _ours("wide-kernels", "gradient of kernels at ν ≤ 0.3", kernel={"max_gradient_sharpness": 0.3}),
        _ours("sharp-gradient", "all gradients at ν ≤ 5", kernel=_SHARP, activation=_SHARP),
        _ours("raw-kernels", "kernels not divided by their RMS", kernel={"normalize_kernel": False}),
        _ours("keras-bn", "Keras's batch normalization", normalization="keras"),
        _ours("slow-statistics", "momentum 0.99", normalization={"momentum": 0.99}),
    )
}
