"""Folders of image files, a folder a class."""

from __future__ import annotations

import os
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

    Hidden files and folders, such as `.git` and those of `__MACOSX`, are no part of it.

    Raises:
        ImportError: If Pillow is not installed.
        OSError: If a folder cannot be read.
        ValueError: If a class has no images, a class of the validation data is not in training, or a file
            or the name of a class cannot be taken. The message names it.
    """
    folders = {folder.name: folder for folder in _contents(path)[0]}
    validation = next((folders[name] for name in _VALIDATION if name in folders), None)
    if "train" in folders and validation is not None:
        names = _classes(folders["train"])
        unknown = sorted(set(_classes(validation)) - set(names))
        if unknown:
            raise ValueError(
                f"Expected the classes of {folders['train']} in {validation}. Received others: {unknown}"
            )
        files, labels = _files(folders["train"], names)
        other_files, other_labels = _files(validation, names, every_class=False)
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
    names = [folder.name for folder in _contents(root)[0]]
    if len(names) < 2:
        raise ValueError(
            "Expected a folder with a folder for every class, at least two, or with the splits train and "
            f"validation of such. Received: {root} with {names or 'no folders'}"
        )
    return names


def _files(root: Path, names: list[str], every_class: bool = True) -> tuple[list[Path], np.ndarray]:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        if not (root / name).is_dir():
            continue
        _, found = _contents(root / name)
        if not found and every_class:
            raise ValueError(
                f"Expected images ({', '.join(sorted(_SUFFIXES))}) in the folder of every class. "
                f"Received: {root / name} with none. Remove the folder if it is no class"
            )
        files += found
        labels += [label] * len(found)
    if not files:
        raise ValueError(
            f"Expected images ({', '.join(sorted(_SUFFIXES))}) in the folders of {root}. Received: none"
        )
    return files, np.array(labels, np.int64)


def _contents(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders and the images in a folder, without what is hidden, each in alphabetical order."""
    folders, images = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_symlink() and not path.exists():
                raise ValueError(
                    f"Expected a file or a folder. Received: {path}, a link that leads nowhere"
                )
            if entry.is_dir():
                # A name of a class goes into files of labels, a line each, in UTF-8.
                if not entry.name.isprintable():
                    raise ValueError(
                        "Expected names of classes of one line of text. Received: folder "
                        f"{entry.name!r} in {folder}"
                    )
                folders.append(path)
            elif path.suffix.lower() in _SUFFIXES:
                if not entry.is_file():
                    raise ValueError(f"Expected a file. Received: {path}, a device or a pipe")
                images.append(path)
    return sorted(folders), sorted(images)
