"""Folders of image files, a folder a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_sbn.data.augmentation import Augmentation
from keras_sbn.data.dataset import ImageDataset, Split
from keras_sbn.data.holding_out import SCALING, hold_out
from keras_sbn.data.images import from_files

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
_VALIDATION = ("validation", "val", "test")


def load_folder(
    path: Path,
    image_size: tuple[int, int] | None,
    validation_split: float,
    seed: int,
    cache_bytes: int,
) -> ImageDataset:
    """Loads `path/class/*.png`, or `path/split/class/*.png`; classes are in alphabetical order.

    Raises:
        ImportError: If Pillow is not installed.
        ValueError: If there are no images, or a class of the validation data is not in training.
    """
    folders = {folder.name: folder for folder in sorted(path.iterdir()) if folder.is_dir()}
    validation = next((folders[name] for name in _VALIDATION if name in folders), None)
    if "train" in folders and validation is not None:
        names = _classes(folders["train"])
        unknown = sorted(set(_classes(validation)) - set(names))
        if unknown:
            raise ValueError(
                f"Expected the classes of {folders['train']} in {validation}. Received others: {unknown}"
            )
        files, labels = _files(folders["train"], names)
        other_files, other_labels = _files(validation, names)
    else:
        # A training split alone is split like a folder without splits.
        root = folders["train"] if set(folders) == {"train"} else path
        names = _classes(root)
        files, labels = _files(root, names)
        kept, out = hold_out(labels, validation_split, seed)
        other_files, other_labels = [files[i] for i in out], labels[out]
        files, labels = [files[i] for i in kept], labels[kept]
    images = from_files(files, image_size, cache_bytes)
    return ImageDataset(
        name=str(path),
        class_names=tuple(names),
        train=Split(images, labels),
        validation=Split(
            from_files(other_files, images.shape[:2], cache_bytes, images.shape[2]), other_labels
        ),
        input_scaling=SCALING,
        augmentation=Augmentation(pad=images.shape[0] // 8, flip=True),
    )


def _classes(root: Path) -> list[str]:
    names = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    if len(names) < 2:
        raise ValueError(
            "Expected a folder with a folder for every class, at least two, or with the splits train and "
            f"validation of such. Received: {root} with {names or 'no folders'}"
        )
    return names


def _files(root: Path, names: list[str]) -> tuple[list[Path], np.ndarray]:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        if not (root / name).is_dir():
            continue
        found = sorted(file for file in (root / name).iterdir() if file.suffix.lower() in _SUFFIXES)
        files += found
        labels += [label] * len(found)
    if not files:
        raise ValueError(
            f"Expected images ({', '.join(sorted(_SUFFIXES))}) in the folders of {root}. Received: none"
        )
    return files, np.array(labels, np.int64)
