"""Moved by at most `pad`, mirrored half of the time, and nothing else."""

import numpy as np
import pytest

from keras_sbn import data


def test_every_image_is_a_shifted_or_mirrored_one(rng):
    images = rng.integers(1, 256, (200, 5, 4, 2)).astype("uint8")
    changed = data.Augmentation(pad=1)(images, np.random.default_rng(0), fill=0)
    assert (changed.shape, changed.dtype) == (images.shape, images.dtype)
    found = {}
    for image, new in zip(images, changed, strict=True):
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        matches = [
            (top, left, flip)
            for top in range(3)
            for left in range(3)
            for flip in (1, -1)
            if np.array_equal(padded[top : top + 5, left : left + 4][:, ::flip], new)
        ]
        assert len(matches) == 1
        found[matches[0]] = found.get(matches[0], 0) + 1
    assert len(found) == 18
    assert 60 < sum(count for (_, _, flip), count in found.items() if flip == 1) < 140


def test_border_is_filled(rng):
    images = np.full((50, 4, 4, 1), 200, np.uint8)
    changed = data.Augmentation(pad=2, flip=False)(images, np.random.default_rng(0), fill=128)
    assert set(np.unique(changed)) == {128, 200}


def test_nothing_to_do(rng):
    images = rng.integers(0, 256, (4, 5, 4, 1)).astype("uint8")
    same = data.Augmentation(pad=0, flip=False)(images, np.random.default_rng(0))
    np.testing.assert_array_equal(same, images)
    with pytest.raises(ValueError, match="Expected `pad`"):
        data.Augmentation(pad=-1)
