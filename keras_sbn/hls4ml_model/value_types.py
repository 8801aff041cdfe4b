"""The type of every value and weight of a folded model in hls4ml: as many bits as hold it exactly.

A forward pass over hls4ml's graph keeps of each value how small and large it can be, and the step of its
grid. Sums of ±1 products of integers are integers: their bounds are those of the positive and of the
negative weights, filter by filter. Two's complement wraps around, so an accumulator of that many bits is
right in the end whatever the order of the summands.

Thresholds are moved up to the next point of the grid, which no value between them and it can tell. A mean
of n values is k / n. Where n is no power of two it is held to 1/8 of the step 1 / n, and a threshold goes
to the middle between two points, so that every decision is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from hls4ml.model.types import (
    FixedPrecisionType,
    IntegerPrecisionType,
    NamedType,
    RoundingMode,
    SaturationMode,
)

from keras_sbn.hls4ml_model.checks import is_folded
from keras_sbn.hls4ml_model.names import AFFINE, PAD, THRESHOLD

#: Fractional bits of a real output where the user asks for no precision: those of hls4ml's default.
_FRACTION = 10
#: A multiplication a channel is exact where its results need no more bits.
_EXACT_WIDTH = 32
#: The widest type: hls4ml reads and writes values and weights as numbers of double precision.
_WIDEST = 53
#: Types with fractional bits, or with none.
_FixedPoint = FixedPrecisionType | IntegerPrecisionType


@dataclass(frozen=True)
class Values:
    """What is known of the values of a tensor.

    Attributes:
        low: The smallest that is possible.
        high: The largest.
        step: They are multiples of it; `None` where they are rounded, and signs of them not known.
        fraction: Fractional bits that they are held with.
        error: By how much the number that is held can differ.
    """

    low: Fraction
    high: Fraction
    step: Fraction | None
    fraction: int
    error: Fraction = Fraction(0)


BITS = Values(Fraction(-1), Fraction(1), Fraction(1), 0)


def choose(model: Any) -> bool:
    """Gives every value, accumulator and weight of a folded model its type; a pass of hls4ml.

    Raises:
        ValueError: If fixed-point numbers cannot hold the values of a layer exactly.
    """
    if not is_folded(model.config.get_config_value("KerasModel")):
        return False
    known: dict[str, Values] = {}
    for node in model.graph.values():
        sources = [known[name] for name in node.inputs if name in known]
        found = _RULES[node.class_name](node, sources)
        known.update((name, found) for name in node.outputs)
    return False


def _precision(values: Values, name: str) -> Any:
    """The narrowest type that holds values, one bit for the sign if there is one."""
    scale = 2**values.fraction
    low, high = math.floor(values.low * scale), math.ceil(values.high * scale)
    signed = low < 0
    width = max(high.bit_length(), (-low - 1).bit_length() if signed else 1) + signed
    if width > _WIDEST:
        raise ValueError(
            f"Expected values of at most {_WIDEST} bits. Received: {name!r}, whose values need {width}. "
            "Give the input fewer: hls_config={'Model': {'Precision': 'fixed<16,6>'}}."
        )
    if values.fraction == 0:
        return IntegerPrecisionType(width, signed)
    return FixedPrecisionType(width, width - values.fraction, signed)


def _set_result(node: Any, chosen: Any) -> None:
    for output in node.outputs:
        node.get_output_variable(output).type.precision = chosen
    node.set_attr("result_t", node.get_output_variable().type)


def _hold(node: Any, values: Values) -> Values:
    _set_result(node, _precision(values, node.name))
    return values


def _set_accumulator(node: Any, chosen: Any) -> None:
    node.set_attr("accum_t", NamedType(f"layer{node.index}_accum_t", chosen))


def _set_weight(node: Any, name: str, chosen: Any, data: np.ndarray | None = None) -> None:
    weight = node.weights[name]
    if data is not None:
        weight.data = data
        weight.nzeros = int(np.count_nonzero(data == 0))
        weight.nonzeros = int(np.count_nonzero(data))
        weight.min, weight.max = data.min(), data.max()
    weight.type = NamedType(f"{name}{node.index}_t", chosen)
    weight.update_precision(chosen)
    node.set_attr(f"{name}_t", weight.type)


def _input(node: Any, sources: list[Values]) -> Values:
    """Integers as Keras has them; of real numbers as many bits as hls4ml is told."""
    (dtype,) = (
        layer.output.dtype
        for layer in node.model.config.get_config_value("KerasModel").layers
        if layer.name == node.name
    )
    if "int" in dtype:
        limits = np.iinfo(dtype)
        return _hold(node, Values(Fraction(limits.min), Fraction(limits.max), Fraction(1), 0))
    told = node.get_output_variable().type.precision
    if not isinstance(told, _FixedPoint):
        raise ValueError(
            f"Expected a fixed-point type of the input. Received: {node.name!r} of type {told}. Give it "
            "one: hls_config={'Model': {'Precision': 'fixed<16,6>'}}."
        )
    held = FixedPrecisionType(
        told.width, told.integer, told.signed, told.rounding_mode, SaturationMode.SAT
    )
    _set_result(node, held)
    step = Fraction(1, 2) ** held.fractional
    bound = Fraction(2) ** (held.integer - held.signed)
    return Values(-bound if held.signed else Fraction(0), bound - step, step, held.fractional)


def _same(node: Any, sources: list[Values]) -> Values:
    return _hold(node, sources[0])


def _weighted(node: Any, sources: list[Values]) -> Values:
    values = _exact(node, sources[0])
    kernel = np.asarray(node.get_attr("weight_data"), np.float64)
    kernel = kernel.reshape(-1, kernel.shape[-1])
    positive, negative = np.maximum(kernel, 0).sum(axis=0), np.maximum(-kernel, 0).sum(axis=0)
    pairs = {(int(p), int(n)) for p, n in zip(positive, negative, strict=True)}
    found = replace(
        values,
        low=min(p * values.low - n * values.high for p, n in pairs),
        high=max(p * values.high - n * values.low for p, n in pairs),
    )
    if node.get_attr("weight_quantizer") is None:
        low, high = int(kernel.min()), int(kernel.max())
        width = max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1
        # hls4ml takes two bits for -1, 0 and +1.
        _set_weight(node, "weight", IntegerPrecisionType(3 if low == -2 and width == 2 else width))
    _set_accumulator(node, _precision(found, node.name))
    return _hold(node, found)


def _exact(node: Any, values: Values) -> Values:
    if values.error == 0:
        return values
    raise ValueError(
        f"Expected inputs that fixed-point numbers hold exactly. Received: {node.name!r}, which sums "
        "or joins means of a number of values that is no power of two, or rounded products of a batch "
        "normalization. Put a SelfBinarizingActivation between."
    )


def _threshold(node: Any, sources: list[Values]) -> Values:
    """``x >= t`` as ``x >= k * step`` for the smallest such k, and ``-x >= t`` as its opposite."""
    values = sources[0]
    if values.step is None:
        raise ValueError(
            f"Expected a sign of values that are exact. Received: {node.name!r}, which reads rounded "
            "products of a batch normalization. Fold the model: keras_sbn.fold(model) makes a threshold "
            "of both."
        )
    step, raw = values.step, np.asarray(node.get_attr("thresholds"), np.float64)
    turned = np.asarray(node.get_attr("turned_channels")) > 0
    lowest, highest = math.floor(values.low / step), math.floor(values.high / step) + 1
    counts = [
        _count(float(t), bool(down), step, lowest, highest)
        for t, down in zip(raw.ravel(), turned.ravel(), strict=True)
    ]
    # Where values are held to an eighth of a step, the middle between two points of the grid.
    shift, fraction = (
        (Fraction(1, 2), values.fraction) if values.error else (Fraction(0), values.fraction)
    )
    scale = 2**fraction
    held = [Fraction(round((count - shift) * step * scale), scale) for count in counts]
    limits = replace(values, low=min(held), high=max(held), fraction=fraction)
    _set_weight(node, "threshold", _precision(limits, node.name), np.array(held, np.float64))
    _set_weight(node, "turned", IntegerPrecisionType(1, signed=False), turned.astype(np.float64))
    return _hold(node, BITS)


def _count(threshold: float, turned: bool, step: Fraction, lowest: int, highest: int) -> int:
    """The step from which on the comparison falls out the other way, within what values there are."""
    if math.isinf(threshold):
        never = threshold > 0
        return highest if never != turned else lowest
    exact = Fraction(-threshold if turned else threshold) / step
    count = math.floor(exact) + 1 if turned else math.ceil(exact)
    return min(max(count, lowest), highest)


def _affine(node: Any, sources: list[Values]) -> Values:
    """``s * x + o``, exact where that takes few bits, and else within a step of its last bit.

    s is rounded to so many bits that ``|x|`` times its error is an eighth of a step, o likewise, and the
    result is rounded to the nearest, half a step: three quarters in all.
    """
    values = sources[0]
    scales = np.asarray(node.get_attr("scales"), np.float64)
    offsets = np.asarray(node.get_attr("offsets"), np.float64)
    largest = max(abs(values.low), abs(values.high))
    bits_of_scale, bits_of_offset = _fraction_of(scales), _fraction_of(offsets)
    fraction = max(values.fraction + bits_of_scale, bits_of_offset)
    found = _scaled(values, scales, offsets, fraction)
    if values.error == 0 and _width(found) <= _EXACT_WIDTH:
        _set_weight(node, "scale", _of_numbers(scales, bits_of_scale, node.name))
        _set_weight(node, "offset", _of_numbers(offsets, bits_of_offset, node.name))
        return _hold(node, found)
    told = node.model.config.get_precision(node, "result")[0]
    fraction = max(told.fractional, 0) if isinstance(told, _FixedPoint) else _FRACTION
    finer = fraction + max(math.ceil(largest), 1).bit_length() + 2
    for name, numbers, bits in (("scale", scales, finer), ("offset", offsets, fraction + 2)):
        rounded = np.round(numbers * 2.0**bits) / 2.0**bits
        _set_weight(node, name, _of_numbers(rounded, bits, node.name), rounded)
    step = Fraction(1, 2**fraction)
    error = step + values.error * Fraction(float(np.abs(scales).max()))
    found = replace(_scaled(values, scales, offsets, fraction), step=None, error=error)
    found = replace(found, low=found.low - step, high=found.high + step)
    held = _precision(found, node.name)
    rounding = FixedPrecisionType(held.width, held.integer, held.signed, RoundingMode.RND)
    _set_result(node, rounding)
    return found


def _scaled(values: Values, scales: np.ndarray, offsets: np.ndarray, fraction: int) -> Values:
    pairs = [(Fraction(float(s)), Fraction(float(o))) for s, o in zip(scales, offsets, strict=True)]
    ends = [s * x + o for s, o in pairs for x in (values.low, values.high)]
    return Values(min(ends), max(ends), Fraction(1, 2**fraction), fraction)


def _width(values: Values) -> int:
    """How many bits values need."""
    largest = max(abs(values.low), abs(values.high)) * 2**values.fraction
    return math.ceil(largest).bit_length() + 1


def _fraction_of(numbers: np.ndarray) -> int:
    """The fractional bits that hold all numbers, which are float32."""
    return max(Fraction(float(x)).denominator for x in np.unique(numbers)).bit_length() - 1


def _of_numbers(numbers: np.ndarray, fraction: int, name: str) -> Any:
    low, high = Fraction(float(numbers.min())), Fraction(float(numbers.max()))
    return _precision(Values(low, high, None, fraction), name)


def _pad(node: Any, sources: list[Values]) -> Values:
    values = _exact(node, sources[0])
    border = np.asarray(node.get_attr("values"), np.float64)
    fraction = _fraction_of(border)
    _set_weight(node, "value", _of_numbers(border, fraction, node.name))
    return _hold(node, _joined([values, _border(float(border.min()), float(border.max()), fraction)]))


def _border(low: float, high: float, fraction: int) -> Values:
    return Values(Fraction(low), Fraction(high), Fraction(1, 2**fraction), fraction)


def _zero_padding(node: Any, sources: list[Values]) -> Values:
    return _hold(node, _joined([_exact(node, sources[0]), _border(0.0, 0.0, 0)]))


def _joined(sources: list[Values]) -> Values:
    fraction = max(one.fraction for one in sources)
    low, high = min(one.low for one in sources), max(one.high for one in sources)
    return Values(low, high, Fraction(1, 2**fraction), fraction)


def _merge(node: Any, sources: list[Values]) -> Values:
    first, second = (_exact(node, one) for one in sources)
    found = _joined([first, second])
    operation = node.get_attr("op")
    if operation == "add":
        found = replace(found, low=first.low + second.low, high=first.high + second.high)
    elif operation == "subtract":
        found = replace(found, low=first.low - second.high, high=first.high - second.low)
    return _hold(node, found)


def _concatenate(node: Any, sources: list[Values]) -> Values:
    return _hold(node, _joined([_exact(node, one) for one in sources]))


def _activation(node: Any, sources: list[Values]) -> Values:
    values = sources[0]
    if node.get_attr("activation") != "linear":
        zero = Fraction(0)
        values = replace(values, low=max(values.low, zero), high=max(values.high, zero))
    return _hold(node, values)


def _pool(node: Any, sources: list[Values]) -> Values:
    values = sources[0]
    if node.class_name.startswith("Global"):
        size, padded = node.get_input_variable().shape[:-1], False
    else:
        size = [node.get_attr("pool_height"), node.get_attr("pool_width")]
        padded = any(node.get_attr(f"pad_{side}") for side in ("top", "bottom", "left", "right"))
    if node.get_attr("pool_op") == "Max":
        if padded and values.low >= 0:
            raise ValueError(
                "Expected a pool that pads to read values of both signs, as hls4ml pads with the largest "
                f"number where there are none below 0. Received: {node.name!r}. Use padding='valid'."
            )
        _set_accumulator(node, _precision(values, node.name))
        return _hold(node, values)
    values = _exact(node, values)
    assert values.step is not None
    # Where the border is padded, any number up to the window's is averaged.
    count = math.prod(math.lcm(*range(1, n + 1)) if padded else n for n in size)
    step = values.step / count
    exact = step.denominator & (step.denominator - 1) == 0
    fraction = step.denominator.bit_length() - 1 if exact else math.ceil(math.log2(8 / step))
    error = Fraction(0) if exact else Fraction(1, 2**fraction)
    found = replace(values, step=step, fraction=fraction, error=error)
    total = math.prod(size)
    sums = replace(found, low=min(values.low * total, values.low), high=values.high * total)
    _set_accumulator(node, _precision(sums, node.name))
    return _hold(node, found)


_RULES: dict[str, Callable[[Any, list[Values]], Values]] = {
    THRESHOLD: _threshold,
    AFFINE: _affine,
    PAD: _pad,
    "Activation": _activation,
    "Clone": _same,
    "Concatenate": _concatenate,
    "Conv2D": _weighted,
    "Dense": _weighted,
    "GlobalPooling2D": _pool,
    "Input": _input,
    "Merge": _merge,
    "ParametrizedActivation": _activation,
    "PointwiseConv1D": _weighted,
    "PointwiseConv2D": _weighted,
    "Pooling2D": _pool,
    "Repack": _same,
    "Reshape": _same,
    "Resize": _same,
    "Transpose": _same,
    "ZeroPadding2D": _zero_padding,
}
