"""From a photograph to the input of a model: the one definition that training and devices share.

The largest piece of the model's shape is cut out of the middle and its pixels are averaged, all in
integer arithmetic, so that there is one right answer. With target size n and source size m, in units of
1/n of a source pixel, source pixel r covers ``[r n, (r + 1) n)`` and target pixel i covers
``[i m, (i + 1) m)``. The overlaps are the weights; those of a target pixel, rows times columns, sum up to
the number of source pixels, so

    value = floor((2 sum + total) / (2 total)),    sum = sum of weight * pixel,    total = height * width,

the mean rounded half up. What a target pixel covers is the difference of the sum up to its end and the
sum up to its begin, and the sum up to x, with x = w n + p in units of 1/n, is n times that of the first w
pixels and p times pixel w: one running sum an axis. The Android example (`Preprocessing.kt`) and the one
for the Raspberry Pi (`preprocessing.h`) compute the same.
"""

from __future__ import annotations

import numpy as np

#: Parts of red, green and blue in grey, in thousandths (ITU-R BT.601).
_GREY = np.array([299, 587, 114])
#: How many running sums are held at once.
_SUMS = 1 << 22


def fit_image(image: np.ndarray, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Cuts the middle out of a photograph and averages it down, or up, to a model's size.

    `keras_sbn.data`, and so `keras-sbn train`, brings images to size with this, and the Android and
    Raspberry Pi examples compute the same bytes from the same pixels: the network sees on a device what
    it saw in training.

    Args:
        image: uint8 array `(rows, columns, 3)`, red, green, blue, or `(rows, columns)` or
            `(rows, columns, 1)` of grey.
        height: Positive number of rows of the result.
        width: Positive number of columns of the result.
        channels: 3, or 1 for grey.

    Returns:
        uint8 array `(height, width, channels)`.

    Raises:
        ValueError: If the image is not uint8 of one of these shapes, or a size is not positive.

    Example:

    >>> from keras_sbn.deployment import fit_image
    >>> photograph = np.zeros((480, 640, 3), "uint8")
    >>> fit_image(photograph, 32, 32).shape
    (32, 32, 3)
    """
    pixels = image[:, :, None] if image.ndim == 2 else image
    if image.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] not in (1, 3) or not pixels.size:
        raise ValueError(
            "Expected a uint8 image (rows, columns, 3), or (rows, columns) of grey. Received: "
            f"{image.dtype} of shape {image.shape}"
        )
    if height < 1 or width < 1 or channels not in (1, 3):
        raise ValueError(
            "Expected a positive height and width, and 1 or 3 channels. Received: "
            f"height={height}, width={width}, channels={channels}"
        )
    if pixels.shape == (height, width, channels):
        return np.array(pixels)
    rows, columns = pixels.shape[:2]
    if columns * height > rows * width:
        cut_rows, cut_columns = rows, max(rows * width // height, 1)
    else:
        cut_rows, cut_columns = max(columns * height // width, 1), columns
    top, left = (rows - cut_rows) // 2, (columns - cut_columns) // 2
    piece = pixels[top : top + cut_rows, left : left + cut_columns]
    by_row = _covered(piece, height)
    sums = _covered(by_row.swapaxes(0, 1), width).swapaxes(0, 1)
    total = cut_rows * cut_columns
    means = (2 * sums + total) // (2 * total)
    if channels == 3:
        return np.broadcast_to(means, (height, width, 3)).astype(np.uint8)
    if means.shape[-1] == 3:
        means = (means @ _GREY + 500)[:, :, None] // 1000
    return means.astype(np.uint8)


def _covered(values: np.ndarray, target: int) -> np.ndarray:
    """Sums along the first axis of what each of `target` parts covers, in 1/target of a value."""
    # In pieces along the second axis, so that a large photograph takes little memory.
    step = max(_SUMS // (len(values) * values.shape[2]), 1)
    starts = range(0, values.shape[1], step)
    return np.concatenate([_sums(values[:, start : start + step], target) for start in starts], axis=1)


def _sums(values: np.ndarray, target: int) -> np.ndarray:
    source = len(values)
    whole, part = np.divmod(np.arange(target + 1) * source, target)
    before = np.zeros((source + 1, *values.shape[1:]), np.int64)
    np.cumsum(values, axis=0, out=before[1:])
    # The last edge has no part of a value that would follow.
    following = values[np.minimum(whole, source - 1)].astype(np.int64)
    return np.diff(target * before[whole] + part[:, None, None] * following, axis=0)


def input_values(
    dtype: str, input_range: tuple[float, float], scale: float = 1.0, zero_point: int = 0
) -> np.ndarray:
    """What the input of a model is for each of the values 0 to 255 of an image.

    Args:
        dtype: Type of the input: "float32", "int8" or "uint8".
        input_range: What 0 and 255 become: ``low + value * (high - low) / 255``, in float64 and then
            rounded once. For (0, 1) and float32 that is `image / 255` of float32 exactly.
        scale: Of a quantized input.
        zero_point: Of a quantized input.

    Returns:
        Array of 256 values of the type.

    Raises:
        ValueError: If the type is another.
    """
    low, high = input_range
    real = low + np.arange(256) * (high - low) / 255
    if dtype == "float32":
        return real.astype(np.float32)
    if dtype not in ("int8", "uint8"):
        raise ValueError(f"Expected an input of float32, int8 or uint8. Received: {dtype}")
    limits = np.iinfo(dtype)
    stored = np.floor(real / scale + 0.5) + zero_point
    return np.clip(stored, limits.min, limits.max).astype(dtype)
