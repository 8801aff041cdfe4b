"""NumPy files with the arrays that Keras's own data sets have."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_sbn.data.arrays import read_arrays
from keras_sbn.data.augmentation import Augmentation
from keras_sbn.data.dataset import ImageDataset, Split
from keras_sbn.data.holding_out import SCALING, hold_out
from keras_sbn.data.images import Images, from_array, from_records

#: A set may lack images of some classes, but not of most.
_CLASSES_OF_A_SMALL_SET = 1000


def load_npz(
    path: Path,
    image_size: tuple[int, int] | None,
    validation_split: float,
    seed: int,
    cache_bytes: int,
) -> ImageDataset:
    """Loads `x_train` and `y_train`, and `x_test` and `y_test` where they are there.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is damaged, an array is missing, is no image or no label, or there are not
            as many labels as images. The message names the file and the array.
    """
    arrays = _read(path)
    x, y = _pair(path, arrays, "train")
    largest = int(y.max())
    if "x_test" in arrays:
        x_test, y_test = _pair(path, arrays, "test")
        if x_test.shape[1:] != x.shape[1:] and image_size is None:
            raise ValueError(
                f"Expected images of one shape. Received: {path}, x_train with {x.shape[1:]} and x_test "
                f"with {x_test.shape[1:]}. Give `image_size`, (height, width), to bring all to one size."
            )
        largest = max(largest, int(y_test.max()))
    images = sum(len(array) for name, array in arrays.items() if name.startswith("x"))
    if largest >= max(images, _CLASSES_OF_A_SMALL_SET):
        raise ValueError(
            f"Expected labels 0, 1, 2, … of the classes. Received: {path}, label {largest} among "
            f"{images} images. Number the classes: np.unique(labels, return_inverse=True)[1]"
        )
    if "x_test" not in arrays:
        try:
            kept, out = hold_out(y, validation_split, seed)
        except ValueError as error:
            raise ValueError(f"{error}, in {path}") from error
        x, y, x_test, y_test = x[kept], y[kept], x[out], y[out]
    train, test = _images(x, image_size, cache_bytes), _images(x_test, image_size, cache_bytes)
    return ImageDataset(
        name=str(path),
        class_names=tuple(str(label) for label in range(largest + 1)),
        train=Split(train, y),
        validation=Split(test, y_test),
        input_scaling=SCALING,
        # Whether the images may be mirrored is not known.
        augmentation=Augmentation(pad=train.shape[0] // 8, flip=False),
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays that are asked for, and no others."""
    wanted = ("x_train", "y_train", "x_test", "y_test")
    arrays = read_arrays(path, wanted)
    names = sorted(arrays) if isinstance(arrays, dict) else []
    if not isinstance(arrays, dict) or names not in (sorted(wanted[:2]), sorted(wanted)):
        raise ValueError(
            "Expected an .npz with x_train and y_train, and x_test and y_test or neither. Received: "
            f"{path} with {', '.join(names) or 'none of them'}"
        )
    return arrays


def _pair(path: Path, arrays: dict[str, np.ndarray], split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a split, once they are known to be some, and as many."""
    x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
    place = f"{path}, x_{split} of shape {x.shape}, {x.dtype}"
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or not x.size:
        raise ValueError(
            "Expected images as uint8, (n, height, width) or (n, height, width, channels), at least "
            f"one. Received: {place}"
            + (". Multiply by 255, round, and store uint8" if x.dtype.kind == "f" else "")
        )
    place = f"{path}, y_{split} of shape {y.shape}, {y.dtype}"
    if y.ndim == 2 and y.shape[1] > 1:
        raise ValueError(
            f"Expected a label an image, shape ({len(x)},). Received: {place}. One-hot labels become "
            "such by labels.argmax(axis=-1)"
        )
    if y.shape not in ((len(x),), (len(x), 1)):
        raise ValueError(f"Expected a label for each of {len(x)} images, x_{split}. Received: {place}")
    if y.dtype.kind not in "iu":
        raise ValueError(
            f"Expected labels as integers, 0, 1, 2, …. Received: {place}. Whole numbers become such by "
            "labels.astype('int64')"
        )
    if y.min() < 0:
        (index, *_) = np.flatnonzero(y.reshape(-1) < 0)
        raise ValueError(
            f"Expected labels from 0 on. Received: {path}, y_{split}[{index}] = {y.reshape(-1)[index]}"
        )
    # Before the cast: a label of uint64 may be more than int64 holds.
    if y.max() > np.iinfo(np.int32).max:
        raise ValueError(
            f"Expected labels 0, 1, 2, … of the classes. Received: {path}, y_{split} with label "
            f"{y.max()}. Number the classes: np.unique(labels, return_inverse=True)[1]"
        )
    return (x[..., np.newaxis] if x.ndim == 3 else x), y.reshape(-1).astype(np.int64)


def _images(array: np.ndarray, image_size: tuple[int, int] | None, cache_bytes: int) -> Images:
    images = from_array(array)
    if image_size is not None and images.shape[2] not in (1, 3):
        raise ValueError(
            "Expected images of 1 or 3 channels to bring to `image_size`. Received: images of shape "
            f"{images.shape}"
        )
    if image_size is None or images.shape[:2] == image_size:
        return images
    records = [{"image": image} for image in images[:]]
    return from_records(records, image_size, cache_bytes)
