"""The usual random changes of training images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Augmentation:
    """Pads every image, crops it again at a random place, and mirrors every second one.

    Args:
        pad: Number of pixels that the image may move in each direction; 0 leaves it in its place.
        flip: Whether half of the images are mirrored left to right. Not for digits and letters.

    Raises:
        ValueError: If `pad` is negative.

    Source: He et al., Deep Residual Learning, arXiv 1512.03385, section 4.2: `pad=4` and a flip for
    CIFAR-10.

    Example:

    >>> images = np.zeros((2, 8, 8, 3), "uint8")
    >>> keras_sbn.data.Augmentation(pad=1)(images, np.random.default_rng(0)).shape
    (2, 8, 8, 3)
    """

    pad: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.pad, int) or self.pad < 0:
            raise ValueError(f"Expected `pad` to be 0 or a positive integer. Received: pad={self.pad!r}")

    def __call__(self, images: np.ndarray, rng: np.random.Generator, fill: int = 0) -> np.ndarray:
        """Returns changed copies of `images`, `(batch, height, width, channels)`.

        Args:
            images: The images.
            rng: Where the changes come from; the same state gives the same changes.
            fill: The pixel that comes in at the border.
        """
        count, height, width, _ = images.shape
        if self.pad:
            border = ((0, 0), (self.pad, self.pad), (self.pad, self.pad), (0, 0))
            padded = np.pad(images, border, constant_values=fill)
            top, left = rng.integers(0, 2 * self.pad + 1, (2, count))
            rows = top[:, np.newaxis] + np.arange(height)
            columns = left[:, np.newaxis] + np.arange(width)
            which = np.arange(count)[:, np.newaxis, np.newaxis]
            images = padded[which, rows[:, :, np.newaxis], columns[:, np.newaxis, :]]
        if self.flip:
            mirrored = rng.random(count) < 0.5
            images = np.where(mirrored[:, np.newaxis, np.newaxis, np.newaxis], images[:, :, ::-1], images)
        return images
