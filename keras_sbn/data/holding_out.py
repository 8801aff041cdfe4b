"""Holding out a share of every class, and the facts that most data sets share."""

from __future__ import annotations

import numpy as np

#: 8-bit images in [-1, 1): multiples of 1/128, so that float32 sums of them are exact.
SCALING = (1 / 128, -1.0)


def hold_out(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divides the samples so that the second part has `share` of every class, rounded.

    A class of two samples and more is in both parts.

    Returns:
        The indices of both parts, in order.

    Raises:
        ValueError: If a part would be empty.
    """
    rng = np.random.default_rng(seed)
    is_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = round(share * len(members))
        if len(members) > 1:
            count = min(max(count, 1), len(members) - 1)
        is_out[rng.permutation(members)[:count]] = True
    if is_out.all() or not is_out.any():
        raise ValueError(
            f"Expected enough samples to hold out {share} of each class. Received: {len(labels)} samples"
        )
    return np.flatnonzero(~is_out), np.flatnonzero(is_out)
