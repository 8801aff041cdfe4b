"""Real numbers as int8: ``x = scale * (q - zero_point)``, as TFLite stores them.

Activations have one scale and zero point a tensor, fitted to the values seen on representative data, with
0 among them, so that padding is exact. Weights have one scale an output channel and zero point 0, and a
bias is int32 in units of ``input scale * weight scale``, in which the products are summed.

Two things keep values exact where they can be. A value on a known grid, such as a sum of ±1, is never
stored finer than the grid: where its range fits int8, every value of it is stored as it is. And the
scale of an input whose values all lie on a lattice of at most 256 steps, as those of an image do, is its
step.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np

from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import KerasCall
from keras_sbn.folding.value_ranges import Grid

LOWEST, HIGHEST = -128, 127
#: Largest magnitude of an int32 bias; the products that are added to it have room above.
_LARGEST_BIAS = 2.0**30
_LEVELS = HIGHEST - LOWEST


class Scale(NamedTuple):
    """Scale and zero point of an int8 tensor."""

    scale: float
    zero_point: int

    def stored(self, values: np.ndarray | float) -> np.ndarray:
        """The int8 values nearest to real ones."""
        steps = np.round(np.asarray(values, np.float64) / self.scale) + self.zero_point
        return np.clip(steps, LOWEST, HIGHEST).astype(np.int8)

    @property
    def largest(self) -> float:
        """The largest magnitude it can store."""
        return self.scale * max(HIGHEST - self.zero_point, self.zero_point - LOWEST)


#: What the kernels of these functions write, fixed by TFLite.
PROBABILITY = Scale(1 / 256, -128)
HYPERBOLIC = Scale(1 / 128, 0)
#: ±1 and other small integers.
INTEGER = Scale(1.0, 0)


def fixed_scale(node: Node) -> Scale | None:
    """The scale that TFLite prescribes for what a node computes, or `None` where its range decides."""
    layer = node.op.operation if isinstance(node.op, KerasCall) else None
    if isinstance(layer, keras.layers.Softmax):
        return PROBABILITY
    name = getattr(getattr(layer, "activation", None), "__name__", "")
    return {"softmax": PROBABILITY, "sigmoid": PROBABILITY, "tanh": HYPERBOLIC}.get(name)


def scale_of_range(low: float, high: float, grid: Grid | None = None) -> Scale:
    """The finest scale that stores [low, high] and 0, but none finer than the grid of the values."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / _LEVELS or 1.0
    if grid is not None:
        scale = max(scale, 1 / grid.steps)
    scale = float(np.float32(scale))
    return Scale(scale, int(np.clip(np.round(LOWEST - low / scale), LOWEST, HIGHEST)))


def scale_of_lattice(values: np.ndarray) -> Scale | None:
    """The scale that stores the given sorted, different values exactly, or `None` if there is none."""
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
    return Scale(float(np.float32(values[farthest] / whole[farthest])), int(LOWEST - low))


def quantized_kernel(
    kernel: np.ndarray, bias: np.ndarray, input_scale: float, largest: int = HIGHEST
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A kernel and bias as a convolution of int8 reads them.

    Args:
        kernel: Real weights `(..., filters)`.
        bias: Real numbers `(filters,)`.
        input_scale: Scale of the convolution's input.
        largest: The integer that the largest weight of a filter becomes.

    Returns:
        int8 weights, a positive float32 scale a filter, and the int32 bias in units of
        ``input_scale * scale``.
    """
    filters = kernel.shape[-1]
    size = np.abs(kernel).reshape(-1, filters).max(axis=0)
    scale = size / largest
    # A filter of small weights and a large bias: its products may lose digits, its bias may not.
    scale = np.maximum(scale, np.abs(bias) / (input_scale * _LARGEST_BIAS))
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32).astype(np.float64)
    scale = np.maximum(scale, np.finfo(np.float32).tiny / min(input_scale, 1.0))
    weights = np.clip(np.round(kernel / scale), -HIGHEST, HIGHEST).astype(np.int8)
    return weights, scale.astype(np.float32), int32(np.round(bias / (input_scale * scale)))


def int32(values: np.ndarray) -> np.ndarray:
    """Integers, clipped to where sums of products still fit beside them."""
    return np.clip(values, -_LARGEST_BIAS, _LARGEST_BIAS).astype(np.int32)
