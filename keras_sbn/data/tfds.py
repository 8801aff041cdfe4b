"""Data sets of tensorflow-datasets, which needs no TensorFlow to read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_sbn.data.augmentation import Augmentation
from keras_sbn.data.dataset import ImageDataset, Split
from keras_sbn.data.holding_out import SCALING, hold_out
from keras_sbn.data.images import Records, from_records
from keras_sbn.suggestions import did_you_mean


@dataclass(frozen=True)
class _Known:
    """What is known of a data set: its name there, its split for validation, and how it is augmented."""

    name: str
    validation: str
    augmentation: Augmentation
    image_size: tuple[int, int] | None = None


#: Data sets by the names that `keras_sbn.data.load` knows.
KNOWN = {
    "mnist": _Known("mnist", "test", Augmentation(pad=2, flip=False)),
    "fashion_mnist": _Known("fashion_mnist", "test", Augmentation(pad=2, flip=True)),
    "cifar10": _Known("cifar10", "test", Augmentation(pad=4, flip=True)),
    "cifar100": _Known("cifar100", "test", Augmentation(pad=4, flip=True)),
    "svhn": _Known("svhn_cropped", "test", Augmentation(pad=4, flip=False)),
    "imagenet": _Known("imagenet2012", "validation", Augmentation(pad=28, flip=True), (224, 224)),
}


def load_by_name(name: str, data_dir: Any, **common: Any) -> ImageDataset:
    """Downloads, where it is not there yet, and loads a data set.

    Raises:
        ImportError: If tensorflow-datasets is not installed, or does not import.
        ValueError: If there is no data set of that name.
    """
    known = KNOWN.get(name)
    hint = "" if known else did_you_mean(name, ("digits", *KNOWN))
    tfds = _tfds(hint)
    try:
        builder = tfds.builder(known.name if known else name, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError as error:
        raise ValueError(
            f"Expected 'digits', {', '.join(map(repr, KNOWN))}, another name of tensorflow-datasets, or "
            f"the path of a folder or an .npz. Received: {name!r}.{hint}"
        ) from error
    # Files that are there already are used in whatever format they have; new ones can be read at random.
    if not builder.info.splits:
        builder = tfds.builder(
            known.name if known else name, data_dir=data_dir, file_format="array_record"
        )
        builder.download_and_prepare()
    if known is not None and common["image_size"] is None:
        common["image_size"] = known.image_size
    return load_builder(builder, name, known=known, **common)


def load_builder(
    builder: Any,
    name: str,
    image_size: tuple[int, int] | None,
    validation_split: float,
    seed: int,
    cache_bytes: int,
    known: _Known | None = None,
) -> ImageDataset:
    """Loads what a builder of tensorflow-datasets has prepared.

    Raises:
        ValueError: If its samples are not images with labels, or it has no split "train".
    """
    features = getattr(getattr(builder, "info", None), "features", None) or {}
    if "image" not in features or "label" not in features:
        raise ValueError(
            "Expected a data set whose samples have an 'image' and a 'label'. Received: "
            f"{name!r} with {sorted(features) or builder!r}"
        )
    splits = [str(split) for split in builder.info.splits]
    other: str | None = next((split for split in ("validation", "test") if split in splits), None)
    if known is not None:
        other = known.validation
    elif "train" not in splits:
        raise ValueError(f"Expected a data set with a split 'train'. Received: {name!r} with {splits}")
    other_records: Records
    records, labels = _read(builder, "train")
    if other is None:
        kept, out = hold_out(labels, validation_split, seed)
        other_records, other_labels = _Chosen(records, out), labels[out]
        records, labels = _Chosen(records, kept), labels[kept]
    else:
        other_records, other_labels = _read(builder, other)
    images = from_records(records, image_size, cache_bytes)
    augmentation = Augmentation(pad=images.shape[0] // 8, flip=False)
    return ImageDataset(
        name=name,
        class_names=tuple(features["label"].names),
        train=Split(images, labels),
        validation=Split(from_records(other_records, image_size, cache_bytes), other_labels),
        input_scaling=SCALING,
        augmentation=augmentation if known is None else known.augmentation,
    )


class _Chosen:
    """Some of the records."""

    def __init__(self, records: Any, indices: np.ndarray) -> None:
        self._records = records
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self._records[int(self._indices[index])]


def _read(builder: Any, split: str) -> tuple[Records, np.ndarray]:
    """The records of a split, and their labels.

    Where the files can be read at random, the labels alone are decoded now. Older formats and folders are
    read once, from the beginning to the end, which TensorFlow does.
    """
    tfds = _tfds()
    try:
        records = builder.as_data_source(split=split)
    except (AttributeError, NotImplementedError, ValueError):
        # Older formats and folders have no random access, and say so in one of these ways.
        options = tfds.ReadConfig(shuffle_seed=0)
        stream = builder.as_dataset(split=split, shuffle_files=False, read_config=options)
        records = list(tfds.as_numpy(stream))
        labels = [record["label"] for record in records]
    else:
        skipped = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
        labels = [skipped[index]["label"] for index in range(len(skipped))]
    return records, np.array(labels, np.int64)


def _tfds(hint: str = "") -> Any:
    try:
        import tensorflow_datasets as tfds

        _ = tfds.decode
    except Exception as error:  # A package below it of another version raises what it likes.
        raise ImportError(
            "Data sets by name need tensorflow-datasets: pip install 'keras-sbn[datasets]'. Importing it "
            f"gave {type(error).__name__}: {error}.{hint}"
        ) from error
    return tfds
