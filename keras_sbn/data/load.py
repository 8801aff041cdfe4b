"""Data sets by name or path."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_sbn.data.augmentation import Augmentation
from keras_sbn.data.dataset import ImageDataset
from keras_sbn.data.digits import load_digits
from keras_sbn.data.folders import load_folder
from keras_sbn.data.images import CACHE_BYTES
from keras_sbn.data.numpy_files import load_npz
from keras_sbn.data.tfds import KNOWN, load_builder, load_by_name


def load(
    source: Any = "digits",
    *,
    image_size: tuple[int, int] | None = None,
    validation_split: float = 0.1,
    seed: int = 0,
    input_scaling: tuple[float, float] | None = None,
    augmentation: Augmentation | str | None = "standard",
    data_dir: str | os.PathLike[str] | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> ImageDataset:
    """Loads a data set of images, split for training and validation.

    No TensorFlow is needed, whatever the backend of Keras. Images stay 8-bit integers, are decoded when
    they are first used and kept in memory while they fit into `cache_bytes`.

    Args:
        source: One of

            - `"digits"`: scikit-learn's handwritten digits, 8 x 8, without a download.
            - `"mnist"`, `"fashion_mnist"`, `"cifar10"`, `"cifar100"`, `"svhn"`, `"imagenet"`, or another
              name of tensorflow-datasets whose samples have an `image` and a `label`. Downloaded on
              first use.
            - The path of a folder of images: `class/*.png`, or `split/class/*.png` with splits called
              `train` and `validation`, `val` or `test`, as for `tfds.folder_dataset.ImageFolder`.
            - The path of an `.npz` with `x_train`, `y_train`, `x_test` and `y_test`, as Keras's own,
              or only the first two; images as uint8.
            - A builder of tensorflow-datasets.
        image_size: `(height, width)`: larger and smaller images are cut and scaled to it, by
            `keras_sbn.deployment.fit_image`, as the examples for devices do. `None` takes the images as
            they are (224 x 224 for ImageNet).
        validation_split: Share of the training data that is held out where the source has no split for
            validation, the same in every class.
        seed: Seed of what is held out.
        input_scaling: `(scale, offset)` of what a network sees, ``scale * image + offset``. Default:
            (1/128, -1), which is exact in float32 and in [-1, 1); for the digits (1/16, 0).
        augmentation: `"standard"` is what is usual for the data set; or an `Augmentation`, or `None`.
        data_dir: Where tensorflow-datasets keeps its files; `None` is its own default.
        cache_bytes: Largest number of bytes of decoded images to keep, for each split.

    Returns:
        An `ImageDataset`.

    Raises:
        ImportError: If a package is missing; the message says which.
        ValueError: If there is no such data, or it is not images with labels.

    Example:

    >>> dataset = keras_sbn.data.load("digits")
    >>> dataset.input_shape, dataset.classes, len(dataset.train), len(dataset.validation)
    ((8, 8, 1), 10, 1437, 360)
    >>> x, y = dataset.batches("train", 32)[0]
    """
    if not 0 < validation_split < 1:
        raise ValueError(
            "Expected `validation_split` to be between 0 and 1. Received: "
            f"validation_split={validation_split}"
        )
    size = None
    if image_size is not None:
        if len(image_size) != 2 or not all(int(side) == side and side > 0 for side in image_size):
            raise ValueError(
                "Expected `image_size` to be (height, width), positive integers. Received: "
                f"image_size={image_size!r}"
            )
        size = (int(image_size[0]), int(image_size[1]))
    common: dict[str, Any] = {
        "image_size": size,
        "validation_split": validation_split,
        "seed": seed,
        "cache_bytes": cache_bytes,
    }
    dataset = _load(source, data_dir, common)
    if input_scaling is not None:
        scale, offset = (float(value) for value in input_scaling)
        if not scale > 0:
            raise ValueError(
                "Expected `input_scaling` to be (scale, offset) with a positive scale. Received: "
                f"input_scaling={input_scaling}"
            )
        dataset = replace(dataset, input_scaling=(scale, offset))
    if augmentation is None or isinstance(augmentation, Augmentation):
        dataset = replace(dataset, augmentation=augmentation)
    elif augmentation != "standard":
        raise ValueError(
            "Expected `augmentation` to be 'standard', a keras_sbn.data.Augmentation, or None. Received: "
            f"augmentation={augmentation!r}"
        )
    return dataset


def _load(source: Any, data_dir: Any, common: dict[str, Any]) -> ImageDataset:
    if not isinstance(source, str | os.PathLike):
        return load_builder(source, getattr(source, "name", "builder"), **common)
    name = os.fspath(source)
    if name == "digits":
        return load_digits(common["image_size"])
    if name in KNOWN:
        return load_by_name(name, data_dir, **common)
    path = Path(source)
    if path.is_dir():
        return load_folder(path, **common)
    if path.suffix == ".npz" and path.exists():
        return load_npz(path, **common)
    if path.exists() or path.suffix or os.sep in name:
        raise ValueError(
            "Expected the path of a folder of images or of an .npz file, or a name. Received: "
            f"{name!r}, which " + ("is neither" if path.exists() else "does not exist")
        )
    return load_by_name(name, data_dir, **common)
