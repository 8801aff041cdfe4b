"""A data set of 8-bit images, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_sbn.data.augmentation import Augmentation
from keras_sbn.data.batches import Batches
from keras_sbn.data.images import Images
from keras_sbn.layers.base import is_integer, positive_integer


@dataclass(frozen=True, repr=False)
class Split:
    """One part of a data set.

    Attributes:
        images: Indexed by a slice or integers, gives `(n, height, width, channels)`, uint8.
        labels: int64, `(samples,)`.
    """

    images: Images
    labels: np.ndarray

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels) or not len(self.labels):
            raise ValueError(
                "Expected as many labels as images, and at least one. Received: "
                f"{len(self.images)} images, {len(self.labels)} labels"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"<Split of {len(self):,} images {self.images.shape}>"

    def select(self, indices: np.ndarray) -> Split:
        """The samples at `indices`, in that order."""
        where = np.asarray(indices)

        def read(index: int) -> np.ndarray:
            return self.images[where[[index]]][0]

        # Not kept a second time: this split keeps what it has read.
        return Split(Images(len(where), self.images.shape, read, cache_bytes=0), self.labels[where])

    def take(self, count: int, seed: int = 0) -> Split:
        """Some of the samples, chosen by the seed, in their order; all, where there are not as many.

        Raises:
            ValueError: If `count` is not positive.
        """
        positive_integer(count, "count")
        if count >= len(self):
            return self
        chosen = np.random.default_rng(seed).permutation(len(self))[:count]
        return self.select(np.sort(chosen))


@dataclass(frozen=True, repr=False)
class ImageDataset:
    """What `keras_sbn.data.load` returns.

    Attributes:
        name: Name or path it was loaded from.
        class_names: Name of every class, in the order of the labels.
        train: The `Split` to train on.
        validation: The `Split` to validate on.
        input_scaling: `(scale, offset)`: a network sees ``scale * image + offset``. Give it to
            `keras_sbn.fold(model, input_scaling=...)`, and the folded model takes the uint8 images, and
            its first layer, if it is binary, sums integers. The scale is a power of two wherever we
            choose it, so that float32 holds every sum of the first layer exactly, before the fold too.
        augmentation: The usual `Augmentation` for training on it, or `None`.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    input_scaling: tuple[float, float]
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        if self.train.images.shape != self.validation.images.shape:
            raise ValueError(
                "Expected images of one shape for training and validation. Received: "
                f"{self.train.images.shape} and {self.validation.images.shape}; give `image_size`."
            )
        labels = np.concatenate([self.train.labels, self.validation.labels])
        if labels.min() < 0 or labels.max() >= len(self.class_names):
            raise ValueError(
                f"Expected labels from 0 to {len(self.class_names) - 1}. Received: labels from "
                f"{labels.min()} to {labels.max()}"
            )

    def __repr__(self) -> str:
        return (
            f"<ImageDataset {self.name!r}: {self.classes} classes, images {self.input_shape}, "
            f"{len(self.train):,} for training, {len(self.validation):,} for validation>"
        )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        return self.train.images.shape

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def scaled(self, images: np.ndarray) -> np.ndarray:
        """The float32 values that a network sees in uint8 images."""
        scale, offset = np.asarray(self.input_scaling, np.float32)
        return images.astype(np.float32) * scale + offset

    def arrays(
        self, split: str = "validation", count: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns `(x, y)` of a split in memory: float32 as a network sees them, and int64 labels.

        Args:
            split: `"train"` or `"validation"`.
            count: Largest number of samples; `None` takes all.

        Raises:
            ValueError: If there is no such split, or `count` is not positive.
        """
        if count is not None:
            positive_integer(count, "count")
        part = self._split(split)
        return self.scaled(part.images[:count]), part.labels[:count]

    def batches(self, split: str = "train", batch_size: int = 128, **options: Any) -> Batches:
        """Returns the batches of a split, for `model.fit` and `model.evaluate`.

        Those of `"train"` are shuffled and augmented, anew in every epoch, and the samples left over
        after the last full batch wait for the next epoch. Those of `"validation"` come in their order.

        Args:
            split: `"train"` or `"validation"`.
            batch_size: Number of samples in a batch.
            **options: Arguments of `keras_sbn.data.Batches`, such as `seed` and `threads`.
        """
        part = self._split(split)
        if split == "train":
            options = {"shuffle": True, "augmentation": self.augmentation, **options}
        return Batches(part.images, part.labels, self.input_scaling, batch_size, **options)

    def take(
        self, train: int | None = None, validation: int | None = None, seed: int = 0
    ) -> ImageDataset:
        """A smaller data set, of samples of each split that the seed chooses; `None` takes all.

        Raises:
            ValueError: If a number of samples is not positive.
        """
        for name, count in (("train", train), ("validation", validation)):
            if count is not None and (not is_integer(count) or count < 1):
                raise ValueError(
                    f"Expected a positive number of {name} samples, or None. Received: {name}={count!r}"
                )
        return replace(
            self,
            train=self.train if train is None else self.train.take(train, seed),
            validation=self.validation if validation is None else self.validation.take(validation, seed),
        )

    def _split(self, split: str) -> Split:
        if split not in ("train", "validation"):
            raise ValueError(f"Expected `split` to be 'train' or 'validation'. Received: split={split!r}")
        return self.train if split == "train" else self.validation
