"""The arithmetic of batch normalization followed by sign, as a comparison with a constant.

Sign is ``y >= 0``. With ``y = scale * (x - center) / divisor + offset`` and a divisor above 0, for any t:

    y >= t   <=>   scale > 0:  x >= u      scale < 0:  x <= u      scale = 0:  offset >= t
                   where u = center + (t - offset) * divisor / scale

``x <= u`` is ``-x >= -u``, so one form serves both: ``direction * x >= direction * u``. A scale of 0 is a
threshold of -inf, "always", or +inf, "never".

Of several maps in a row the last is solved first, and its comparison carried back through the one before.
Each step undoes one operation of the model, so where those are exact at the point of decision, as they
are at a tie on an integer, so are the steps.

Where x lies on a grid of ``1 / n`` within [-K, K], the right-hand side rounds up to the next grid point
with no change of any decision, and clips to one step beyond the grid: -K - 1/n is "always", K + 1/n is
"never". With n = 1, integers, that is what the folded network compares with.
"""

from __future__ import annotations

import numpy as np

from keras_sbn.folding.ops import Affine, Threshold
from keras_sbn.folding.value_ranges import Grid


def threshold_of(affine: Affine) -> Threshold:
    """Returns the comparison that equals the sign of `affine`."""
    return carried_back(Threshold(np.zeros(1), np.ones(1, np.int8)), affine)


def carried_back(comparison: Threshold, affine: Affine) -> Threshold:
    """Returns the comparison of x that equals `comparison` of ``affine(x)``."""
    parameters = (affine.scale, affine.center, affine.offset, affine.divisor)
    comparing = (comparison.threshold, comparison.direction)
    scale, center, offset, divisor, threshold, direction = np.broadcast_arrays(
        *(np.asarray(v, np.float64) for v in (*parameters, *comparing))
    )
    turned = np.where(scale < 0, -direction, direction)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = (threshold - direction * offset) * divisor / np.abs(scale) + turned * center
    constant = np.where(direction * offset >= threshold, -np.inf, np.inf)
    found = Threshold(np.where(scale == 0, constant, found), turned.astype(np.int8))
    return found if affine.inner is None else carried_back(found, affine.inner)


def on_grid(threshold: np.ndarray, grid: Grid) -> np.ndarray:
    """Rounds thresholds up to the grid and clips them to one step beyond it, in units of a step.

    Returns:
        Integers, as float64: ``x * grid.steps >= on_grid(t, grid)`` decides as ``x >= t``.
    """
    beyond = np.floor(grid.bound * grid.steps) + 1
    return np.clip(np.ceil(threshold * grid.steps), -beyond, beyond)


def between_grid_points(threshold: np.ndarray, grid: Grid) -> np.ndarray:
    """Returns numbers half a step below the grid point that decides, in the units of x.

    ``x >= between_grid_points(t, grid)`` decides as ``x >= t`` on the grid, and still does where x is off
    by some rounding, as the averages of a pool and the results of a fast convolution are.
    """
    return (on_grid(threshold, grid) - 0.5) / grid.steps


def round_up_to_float32(threshold: np.ndarray) -> np.ndarray:
    """Returns the smallest normal float32 numbers that are not below `threshold`.

    For a normal float32 number x, and for 0, ``x >= t`` and ``x >= round_up_to_float32(t)`` are the same
    statement.
    """
    with np.errstate(over="ignore"):
        rounded = np.asarray(threshold, np.float64).astype(np.float32)
    return np.where(rounded.astype(np.float64) < threshold, _above(rounded), _normal(rounded))


def _above(values: np.ndarray) -> np.ndarray:
    """The next normal float32 number above each."""
    with np.errstate(over="ignore"):
        return _normal(np.nextafter(values, np.float32(np.inf)))


def _normal(thresholds: np.ndarray) -> np.ndarray:
    """The same float32 thresholds for values that are no subnormal numbers.

    TensorFlow, XLA and the runtimes on many processors take subnormal numbers for 0, so ``0 >= 1e-45`` is
    true there. The next number above 0 that is none is 2^-126; above ``-2^-126`` it is 0.
    """
    least = np.finfo(np.float32).tiny
    normal = np.where(thresholds > 0, least, np.float32(0))
    return np.where(np.abs(thresholds) < least, np.where(thresholds == 0, thresholds, normal), thresholds)


def negated(threshold: np.ndarray, grid: Grid | None) -> np.ndarray:
    """Returns the T with ``not (-x >= threshold)  <=>  x >= T``.

    ``not (-x >= t)`` is ``x > -t``. On a grid, that is ``x`` at the next grid point above -t; for float32
    numbers, ``x`` at the next float32 number above it.
    """
    if grid is not None:
        return (np.floor(-threshold * grid.steps) + 1) / grid.steps
    return _above(-round_up_to_float32(threshold)).astype(np.float64)


def trimmed(parameter: np.ndarray) -> np.ndarray:
    """Drops leading axes along which a parameter does not change; the last axis stays."""
    while parameter.ndim > 1 and (parameter == parameter[:1]).all():
        parameter = parameter[0]
    return parameter
