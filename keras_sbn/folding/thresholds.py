"""The arithmetic of batch normalization followed by sign, as a comparison with a constant.

With x the input, ``y = scale * (x - center) + offset``, and sign(0) = +1:

    y >= 0   <=>   scale > 0:  x >= t      scale < 0:  x <= t      scale = 0:  offset >= 0
                   where t = center - offset / scale

``x <= t`` is ``-x >= -t``, so one form serves both: ``direction * x >= direction * t``. Where x is an
integer in [-K, K], the right-hand side rounds up to the next integer with no change of any decision,
and clips to [-K - 1, K + 1]: -K - 1 is "always", K + 1 is "never". A scale of 0 is one of the two.
"""

from __future__ import annotations

import numpy as np

from keras_sbn.folding.ops import Affine, Threshold


def threshold_of(affine: Affine, bound: int | None) -> Threshold:
    """Returns the comparison that equals the sign of `affine`.

    Args:
        affine: The affine map before the sign.
        bound: K where the input is an integer in [-K, K], else `None` for a real input.

    Returns:
        A `Threshold` with integers for a bounded integer input, and otherwise with float64 numbers, -inf
        and +inf for channels whose decision does not depend on the input.
    """
    scale, center, offset = (
        np.asarray(v, np.float64) for v in (affine.scale, affine.center, affine.offset)
    )
    direction = np.where(scale < 0, -1, 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        threshold = direction * (center - offset / scale)
    constant = np.where(offset >= 0, -np.inf, np.inf)
    threshold = np.where(scale == 0, constant, threshold)
    if bound is not None:
        threshold = np.clip(np.ceil(threshold), -bound - 1, bound + 1)
    return Threshold(threshold, direction.astype(np.int8))


def round_up_to_float32(threshold: np.ndarray) -> np.ndarray:
    """Returns the smallest float32 numbers that are not below `threshold`.

    For a float32 number x, ``x >= t`` and ``x >= round_up_to_float32(t)`` are the same statement.
    """
    with np.errstate(over="ignore"):
        rounded = np.asarray(threshold, np.float64).astype(np.float32)
        above = np.nextafter(rounded, np.float32(np.inf))
    return np.where(rounded.astype(np.float64) < threshold, above, rounded).astype(np.float32)
