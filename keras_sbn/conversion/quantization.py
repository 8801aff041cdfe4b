"""Real numbers as int8 or int16: ``x = scale * (q - zero_point)``, as TFLite stores them.

Activations have one scale and zero point a tensor, fitted to the values seen on representative data, with
0 among them, so that padding is exact. Weights have one scale an output channel and zero point 0, and a
bias is int32 in units of ``input scale * weight scale``, in which the products are summed.

Two things keep values exact where they can be. A value on a known grid, such as a sum of ±1, is never
stored finer than the grid: where its range fits int8, every value of it is stored as it is. And the
scale of an input whose values all lie on a lattice of at most 256 steps, as those of an image do, is its
step.

In int16 the zero point is 0, as the kernels ask for, and the scale a power of two unless the values lie
on a grid that fits: then sums of such values, and their products with powers of two, are exact as well.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_sbn.folding.value_ranges import Grid

LOWEST, HIGHEST = -128, 127
#: Largest magnitude of an int32 bias; the products that are added to it have room above.
_LARGEST_BIAS = 2.0**30
_LEVELS = HIGHEST - LOWEST


class QuantParams(NamedTuple):
    """Scale and zero point of an int8 or int16 tensor."""

    scale: float
    zero_point: int
    dtype: str = "int8"

    def stored(self, values: np.ndarray | float) -> np.ndarray:
        """The integers nearest to real numbers."""
        limits = np.iinfo(self.dtype)
        steps = np.round(np.asarray(values, np.float64) / self.scale) + self.zero_point
        return np.clip(steps, limits.min, limits.max).astype(self.dtype)

    @property
    def largest(self) -> float:
        """The largest magnitude it can store."""
        limits = np.iinfo(self.dtype)
        return self.scale * max(limits.max - self.zero_point, self.zero_point - limits.min)


#: What the kernels of these functions write, fixed by TFLite.
PROBABILITY = QuantParams(1 / 256, -128)
HYPERBOLIC = QuantParams(1 / 128, 0)
#: ±1 and other small integers.
INTEGER = QuantParams(1.0, 0)
#: A binary value as the portable target stores it, (x - 1) / 2: int8 ends at 127, which is the value 0.
BINARY = QuantParams(1.0, 127)
#: An 8-bit image in int8.
IMAGE = QuantParams(1.0, -128)
#: Small integers in int16, and what functions with values in [-1, 1] write there.
WIDE_INTEGER = QuantParams(1.0, 0, "int16")
WIDE_FRACTION = QuantParams(2.0**-15, 0, "int16")


def params_of_range(low: float, high: float, grid: Grid | None = None) -> QuantParams:
    """The finest scale that stores [low, high] and 0, but none finer than the grid of the values."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / _LEVELS or 1.0
    if grid is not None:
        scale = max(scale, 1 / grid.steps)
    scale = float(np.float32(scale))
    return QuantParams(scale, int(np.clip(np.round(LOWEST - low / scale), LOWEST, HIGHEST)))


def wide_params(largest: float, grid: Grid | None = None) -> QuantParams:
    """What stores values up to a magnitude in int16.

    Args:
        largest: The magnitude; of values on a grid its bound counts.
        grid: The grid of the values, which is the scale where int16 holds all of it.
    """
    highest = int(np.iinfo(np.int16).max)
    if grid is not None and grid.steps * grid.bound <= highest:
        return QuantParams(float(np.float32(1 / grid.steps)), 0, "int16")
    exponent = np.ceil(np.log2(max(largest, 2.0**-40) / highest))
    return QuantParams(float(2.0**exponent), 0, "int16")


def params_of_lattice(values: np.ndarray) -> QuantParams | None:
    """What stores the given sorted, different values exactly, or `None` if there is none."""
    if not 2 <= values.size <= _LEVELS + 1:
        return None
    step = float(np.diff(values).min())
    steps = values / step
    whole = np.round(steps)
    low, high = min(whole[0], 0.0), max(whole[-1], 0.0)
    if high - low > _LEVELS or np.abs(steps - whole).max() > 1e-3:
        return None
    # The step again, from the farthest value, where rounding matters least.
    farthest = int(np.abs(whole).argmax())
    return QuantParams(float(np.float32(values[farthest] / whole[farthest])), int(LOWEST - low))


def quantized_kernel(
    kernel: np.ndarray,
    bias: np.ndarray,
    source: QuantParams,
    output: QuantParams | None = None,
    largest: int | np.ndarray = HIGHEST,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A kernel and bias as a convolution of int8 reads them.

    A bias beyond which every sum ends at the same end of the output's range is cut off there: a channel
    that is constant in all but name would otherwise have a bias that overflows when the sums are scaled.

    Args:
        kernel: Real weights `(..., filters)`.
        bias: Real numbers `(filters,)`.
        source: How the convolution's input is stored.
        output: How its output is stored, where it is rounded.
        largest: The integer that the largest weight of a filter becomes, or one a filter.

    Returns:
        int8 weights, a positive float32 scale a filter, and the int32 bias in units of
        ``input_scale * scale``.
    """
    filters, input_scale = kernel.shape[-1], source.scale
    by_filter = np.abs(kernel).reshape(-1, filters)
    scale = by_filter.max(axis=0) / largest
    if output is not None:
        limits = np.iinfo(output.dtype)
        levels = int(limits.max) - int(limits.min)
        end = 2 * levels * output.scale + source.largest * by_filter.sum(axis=0)
        bias = np.clip(bias, -end, end)
    # A filter of small weights and a large bias: its products may lose digits, its bias may not.
    scale = np.maximum(scale, np.abs(bias) / (input_scale * _LARGEST_BIAS))
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32).astype(np.float64)
    scale = np.maximum(scale, np.finfo(np.float32).tiny / min(input_scale, 1.0))
    weights = np.clip(np.round(kernel / scale), -HIGHEST, HIGHEST).astype(np.int8)
    return weights, scale.astype(np.float32), int32(np.round(bias / (input_scale * scale)))


def int32(values: np.ndarray) -> np.ndarray:
    """Integers, clipped to where sums of products still fit beside them."""
    return np.clip(values, -_LARGEST_BIAS, _LARGEST_BIAS).astype(np.int32)


def reach(weights: np.ndarray, source: QuantParams) -> np.ndarray:
    """The largest magnitude that the sum of products of int8 weights can have, a filter."""
    steps = round(source.largest / source.scale)
    return steps * np.abs(weights.astype(np.int64)).reshape(-1, weights.shape[-1]).sum(axis=0)


def largest_weight(products: int) -> int:
    """The largest weight with which so many products, doubled, stay below 2^30.

    Sums that are compared are multiplied by 1, which runtimes store as a half and a shift to the left.
    """
    return int(np.clip((2**29 - 1) // (max(products, 1) * _LEVELS), 1, HIGHEST))
