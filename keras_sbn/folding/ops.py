"""The few operations the fold computes with, beside the Keras layers it leaves alone.

Parameters are NumPy arrays: integers where the arithmetic is integer, float64 elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

from keras_sbn.folding.computation import base_class, change_of, takes, trains_by_default
from keras_sbn.folding.kinds import wraps_around


@dataclass
class Placeholder:
    """An input of the model.

    `tensor` is the KerasTensor of the original input. Where `largest` is set, the values are integers in
    [-largest, largest], or [0, largest] for an unsigned `dtype`, and `dtype` is what the model takes.
    """

    tensor: Any
    dtype: str
    largest: int | None = None


@dataclass
class KerasCall:
    """A call of a Keras layer or operation that no rule has rewritten.

    `arguments` is the nested `(args, kwargs)` of the call with a `Slot` in place of every tensor, `dtype`
    the type of what it gives, and `input_dtypes` are those of what it gets. `doubt` says what speaks
    against the computation that the class stands for: why a layer of one's own could not be read as what
    it calls, or where Keras itself computes otherwise. A call does not change: what computes otherwise is
    another one.
    """

    operation: Any
    arguments: Any
    dtype: str = "float32"
    input_dtypes: tuple[str, ...] = ()
    doubt: str | None = None

    @cached_property
    def change(self) -> str | None:
        """What makes the call compute otherwise than its class does, in words, or `None`."""
        changed = change_of(self.operation)
        if self.doubt is not None:
            changed = self.doubt if changed is None else f"{changed}, and {self.doubt}"
        if changed is None and wraps_around(base_class(self.operation), self.dtype, self.input_dtypes):
            integers = next((x for x in (self.dtype, *self.input_dtypes) if "int" in x), self.dtype)
            changed = f"it computes in {integers}, which wraps around; a Rescaling(1.0) before it helps"
        if changed is not None or not isinstance(self.operation, keras.layers.Layer):
            return changed
        args, kwargs = self.arguments
        positional = [(str(index), value) for index, value in enumerate(args)]
        # The first argument is what the layer computes with, under whatever name.
        named = [*positional, *kwargs.items()]
        inputs = [value for _, value in named[:1]]
        if not all(isinstance(x, Slot) for x in keras.tree.flatten(inputs)):
            return "it is called with a constant among its inputs"
        for name, value in named[1:]:
            if name in ("training", "mask") and not takes(self.operation, name):
                continue
            if name == "training" and value is True and trains_by_default(self.operation):
                continue
            if any(isinstance(x, Slot) for x in keras.tree.flatten(value)):
                return f"it is called with a tensor as its argument {name}"
            if any(x is not None and x is not False for x in keras.tree.flatten(value)):
                return f"it is called with {name}={value!r}"
        return None

    @property
    def takes_tensors_alone(self) -> bool:
        """Whether no number and no array takes part: ``maximum(x, 0.5)`` takes one."""
        return all(isinstance(value, Slot) for value in keras.tree.flatten(self.arguments))

    @cached_property
    def kind(self) -> type | None:
        """The class of Keras or of this package that the call computes as, `None` where it is unknown."""
        return None if self.change is not None else base_class(self.operation)


@dataclass(frozen=True)
class Slot:
    """Stands for the input number `index` of a node inside a call's arguments."""

    index: int


def call_of(operation: Any) -> KerasCall:
    """The call of a layer with one tensor and nothing else."""
    return KerasCall(operation, ((Slot(0),), {}))


@dataclass
class Pick:
    """Output number `index` of a call that has several."""

    index: int


@dataclass
class Sign:
    """+1 where the input is >= 0, -1 elsewhere."""


@dataclass
class Affine:
    """``scale * (y - center) / divisor + offset`` in float64, where y is x, or what `inner` makes of x.

    The parameters broadcast against a sample: `(channels,)`, channels last, or, where every position has
    its own, the shape of the last axes. They stay as the model has them, one map after the other, so that
    a sign after them is decided as the model decides it: multiplied out, they would be rounded, and a sum
    that is exactly 0 need not stay 0. `keras_sbn.folding.thresholds` solves them one by one;
    `keras_sbn.folding.affine_maps` multiplies them out where no sign follows.
    """

    center: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    divisor: np.ndarray | float = 1.0
    inner: Affine | None = None


@dataclass
class Threshold:
    """+1 where ``direction * x >= threshold``, -1 elsewhere.

    `threshold` is float64, infinite where the decision does not depend on x; `direction` is int8, -1 or
    +1. Both broadcast against a sample as the parameters of `Affine` do.
    """

    threshold: np.ndarray
    direction: np.ndarray


@dataclass
class BinaryConv:
    """Convolution with an int8 kernel `(*window, channels / groups, filters)` of -1 and +1.

    `padding` is "valid", "same", or "causal", which pads the left of the last window axis alone.
    `pad_values`, float64, has one number, or one an input channel.
    """

    kernel: np.ndarray
    strides: tuple[int, ...]
    padding: str
    pad_values: np.ndarray
    dilation_rate: tuple[int, ...]
    groups: int


class BinaryConv2D(BinaryConv):
    """A `BinaryConv` over height and width."""


class BinaryConv3D(BinaryConv):
    """A `BinaryConv` over three axes."""


class IntegerConv2D(BinaryConv):
    """A convolution over height and width whose kernel has any int8 values: a quantized first layer."""


@dataclass
class BinaryConv2DTranspose:
    """Transposed convolution with an int8 kernel `(height, width, filters, channels)` of -1 and +1."""

    kernel: np.ndarray
    strides: tuple[int, ...]
    padding: str
    output_padding: tuple[int, ...] | None
    dilation_rate: tuple[int, ...]


@dataclass
class BinaryDense:
    """Matrix product with an int8 kernel `(features, units)` of -1 and +1."""

    kernel: np.ndarray


#: What sums products of a ±1 or integer kernel.
Product = BinaryConv | BinaryConv2DTranspose | BinaryDense


@dataclass
class Reshape:
    """Reshape to `target` (without the batch axis)."""

    target: tuple[int, ...]


Op = Placeholder | KerasCall | Pick | Sign | Affine | Threshold | Product | Reshape
