"""Shortcuts of real values around binary convolutions, as in Bi-Real nets.

A sign keeps one bit of a value; what a layer adds to the values before the sign, and not to the signs,
goes on as it is (Liu et al., Bi-Real Net, arXiv 1808.00278, section 3.1). So every binary convolution has
a shortcut of its own. Where a network has one shortcut around two convolutions, it goes around the first,
and the second gets one around itself; then each value is added once, as in Bi-Real nets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_sbn.from_keras.policy import Role
from keras_sbn.from_keras.values import Value

K = keras.layers


@dataclass
class Shortcuts:
    """What goes around which layer.

    Attributes:
        given: By binary layer, the value of the model's own shortcut that goes around it.
        own: Binary layers whose output the model itself adds to a shortcut.
        replaced: Additions that are made of new shortcuts, and the operand that is left of each.
    """

    given: dict[Value, Value] = field(default_factory=dict)
    own: set[Value] = field(default_factory=set)
    replaced: dict[Value, Value] = field(default_factory=dict)


def find_shortcuts(values: list[Value], roles: dict[int, Role], kept: set[str]) -> Shortcuts:
    """Says what becomes of the shortcuts that a model has."""
    found = Shortcuts()

    def binary_before(value: Value) -> Value | None:
        while value.kind in ("normalization", "activation", "training") and value.has_one_reader:
            value = value.input
        is_binary = value.is_candidate and roles[id(value.layer)].is_binary
        return value if is_binary and value.has_one_reader else None

    for addition in values:
        if addition.kind != "add" or addition.name in kept:
            continue
        for place, operand in enumerate(addition.inputs):
            direct = (
                operand.input if operand.kind == "normalization" and operand.has_one_reader else operand
            )
            last = binary_before(direct) if direct.is_candidate else None
            if last is None:
                continue
            found.own.add(last)
            chain = [last]
            while (
                before := binary_before(chain[-1].input)
            ) is not None and before.shape == addition.shape:
                chain.append(before)
            if len(chain) > 1 and len(addition.inputs) == 2 and addition not in found.replaced:
                found.own.discard(last)
                found.given[chain[-1]] = addition.inputs[1 - place]
                found.replaced[addition] = operand
    return found


@dataclass(frozen=True)
class Fit:
    """How a value is made to fit around a convolution: layers, in their order.

    Attributes:
        crop: What is cut off each side of each axis, or `None`.
        pool: The window of an average pool, or `None`.
        copies: How many copies are joined along the channels.
    """

    crop: tuple[tuple[int, int], ...] | None = None
    pool: tuple[int, ...] | None = None
    copies: int = 1


def fit(value: Value, source: tuple[int | None, ...]) -> Fit | str:
    """How the value that a binary layer reads is added to what it gives, or why it cannot be.

    Args:
        value: The product of the layer.
        source: The shape of what it reads.

    Returns:
        A `Fit`, or the reason why there is none. More channels are copies (Liu et al., ReActNet,
        arXiv 2003.03488, section 4.2), fewer positions an average, as in ResNet-D and Bi-Real nets.
    """
    layer, kind = value.layer, value.layer_kind
    channels, wanted = source[-1], value.shape[-1]
    if kind is K.Dense:
        return Fit() if channels == wanted else "its number of units changes"
    if kind not in (K.Conv1D, K.Conv2D, K.SeparableConv2D) or layer.data_format == "channels_first":
        return "there is none around such a layer"
    if channels is None or wanted is None or wanted % channels:
        return "its filters are no multiple of its input channels"
    strides = _axes(layer.strides, len(source) - 2)
    pool = None if math.prod(strides) == 1 else strides
    crop = None
    if layer.padding == "valid":
        if pool is not None:
            return "it has strides and no border"
        windows = _axes(layer.kernel_size, len(source) - 2)
        rates = _axes(layer.dilation_rate, len(source) - 2)
        cut = [(window - 1) * rate for window, rate in zip(windows, rates, strict=True)]
        if any(cut):
            crop = tuple((each // 2, each - each // 2) for each in cut)
    return Fit(crop, pool, wanted // channels)


def _axes(value: Any, rank: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,) * rank
