"""NumPy files with the arrays that Keras's own data sets have."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_sbn.data.augmentation import Augmentation
from keras_sbn.data.dataset import ImageDataset, Split
from keras_sbn.data.holding_out import SCALING, hold_out
from keras_sbn.data.images import Images, from_array, from_records


def load_npz(
    path: Path,
    image_size: tuple[int, int] | None,
    validation_split: float,
    seed: int,
    cache_bytes: int,
) -> ImageDataset:
    """Loads `x_train` and `y_train`, and `x_test` and `y_test` where they are there.

    Raises:
        ValueError: If an array is missing or is no image.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    missing = [name for name in ("x_train", "y_train") if name not in arrays]
    if missing or ("x_test" in arrays) != ("y_test" in arrays):
        raise ValueError(
            "Expected an .npz with x_train and y_train, and x_test and y_test or neither. Received: "
            f"{path} with {', '.join(sorted(arrays)) or 'nothing'}"
        )
    x, y = arrays["x_train"], arrays["y_train"].reshape(-1).astype(np.int64)
    if "x_test" in arrays:
        x_test, y_test = arrays["x_test"], arrays["y_test"].reshape(-1).astype(np.int64)
    else:
        kept, out = hold_out(y, validation_split, seed)
        x, y, x_test, y_test = x[kept], y[kept], x[out], y[out]
    classes = int(max(y.max(initial=0), y_test.max(initial=0))) + 1
    train, test = _images(x, image_size, cache_bytes), _images(x_test, image_size, cache_bytes)
    return ImageDataset(
        name=str(path),
        class_names=tuple(str(label) for label in range(classes)),
        train=Split(train, y),
        validation=Split(test, y_test),
        input_scaling=SCALING,
        # Whether the images may be mirrored is not known.
        augmentation=Augmentation(pad=train.shape[0] // 8, flip=False),
    )


def _images(array: np.ndarray, image_size: tuple[int, int] | None, cache_bytes: int) -> Images:
    images = from_array(array)
    if image_size is None or images.shape[:2] == image_size:
        return images
    records = [{"image": image} for image in images[:]]
    return from_records(records, image_size, cache_bytes)
