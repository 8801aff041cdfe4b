"""A model in plain Python values and NumPy arrays, which says nothing of either Keras.

It can be pickled, and is what the process with Keras 2 and the one with Keras 3 exchange.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: A value of the model: number of the call that computes it, and which of its outputs it is. Calls are
#: counted from 0; the inputs of the model are call -1.
Value = tuple[int, int]


@dataclass
class Kernel:
    """A latent kernel and what a quantizer makes of it.

    Attributes:
        latent: The trained values.
        quantized: What the layer computes with: the latent values where there is no quantizer.
        quantizer: Name of the quantizer, or `None`.
    """

    latent: np.ndarray
    quantized: np.ndarray
    quantizer: str | None


@dataclass
class Layer:
    """A layer with its weights; one that is called several times stands in the list once.

    Attributes:
        name: Name of the layer.
        kind: Class of the layer, as `"QuantConv2D"`, or `"op:"` and an operation of TensorFlow, as
            `"op:AddV2"`.
        arguments: Constructor's arguments, plain values.
        kernels: Kernels by the name of their weight, as `"kernel"` or `"depthwise_kernel"`.
        weights: The other weights, by name.
        input_quantizer: Name of the quantizer of the input, or `None`.
        constants: For operations: inputs that are constants, by their place among the inputs.
    """

    name: str
    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)
    kernels: dict[str, Kernel] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    input_quantizer: str | None = None
    constants: dict[int, np.ndarray] = field(default_factory=dict)


@dataclass
class Call:
    """Layer number `layer` called on these values, with the shapes of what it gives."""

    layer: int
    inputs: list[Value]
    shapes: list[tuple[int | None, ...]]


@dataclass
class Input:
    """An input of the model."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass
class Description:
    """A whole model."""

    name: str
    inputs: list[Input]
    layers: list[Layer]
    calls: list[Call]
    outputs: list[Value]
