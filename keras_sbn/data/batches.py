"""Batches for `model.fit`, the same on every backend."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import keras
import numpy as np

from keras_sbn.data.augmentation import Augmentation
from keras_sbn.layers.base import positive_integer


class Batches(keras.utils.PyDataset):
    """Batches `(x, y)` of scaled images and labels, prepared ahead by threads.

    What an epoch holds depends on the seed and the number of the epoch alone: not on the backend or the
    number of threads, and not on whether the training was interrupted before (`first_epoch`). Give `fit`
    `shuffle=False`; the samples are shuffled here. The next epoch begins when the last batch of one was
    read, so do not give `fit` a `steps_per_epoch`.

    Args:
        images: Indexed by integers, gives uint8 `(n, height, width, channels)`: an array, or the `images`
            of a `keras_sbn.data.Split`.
        labels: Integers, `(samples,)`; batches have them as int32.
        input_scaling: `(scale, offset)` of ``scale * image + offset``.
        batch_size: Number of samples in a batch.
        shuffle: Whether every epoch has its own order. Then the samples left over after the last full
            batch are dropped, others in every epoch.
        augmentation: An `Augmentation`, or `None`.
        seed: Seed of order and augmentation.
        first_epoch: Number of the epoch that comes next, where a training is resumed.
        multiple_of: The last batch of an unshuffled set is filled up to a multiple of this number, with
            samples of weight 0: for training on several devices. Batches are `(x, y, weights)` then.
        threads: Number of threads that prepare the next batches, twice as many as there are threads; 0
            prepares each when it is asked for.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> images, labels = np.zeros((6, 8, 8, 1), "uint8"), np.arange(6)
    >>> batches = keras_sbn.data.Batches(images, labels, (1 / 128, -1.0), batch_size=4)
    >>> [x.shape for x, y in batches]
    [(4, 8, 8, 1), (2, 8, 8, 1)]
    """

    def __init__(
        self,
        images: Any,
        labels: np.ndarray,
        input_scaling: tuple[float, float],
        batch_size: int,
        *,
        shuffle: bool = False,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        first_epoch: int = 0,
        multiple_of: int = 1,
        threads: int = 2,
    ) -> None:
        # Keras's own workers go on with batches of the epoch before, where a backend has looked at one.
        super().__init__(workers=1)
        if not isinstance(threads, int) or threads < 0:
            raise ValueError(
                f"Expected `threads` to be 0 or a positive integer. Received: threads={threads!r}"
            )
        self.images = images
        # JAX has int64 on request only, and warns of every other.
        self.labels = np.asarray(labels, np.int32)
        self.input_scaling = input_scaling
        self.batch_size = positive_integer(batch_size, "batch_size")
        self.multiple_of = positive_integer(multiple_of, "multiple_of")
        if self.batch_size % self.multiple_of:
            raise ValueError(
                f"Expected `batch_size` to be a multiple of {multiple_of}, the number of devices. "
                f"Received: batch_size={batch_size}"
            )
        if shuffle and batch_size > len(labels):
            raise ValueError(
                f"Expected `batch_size` to be at most the {len(labels)} training samples. Received: "
                f"batch_size={batch_size}"
            )
        self.shuffle = shuffle
        self.augmentation = augmentation
        self.seed = seed
        self._epoch = first_epoch
        self._order = self._order_of_epoch()
        self._is_read = False
        self._ahead = 2 * threads
        self._threads = ThreadPoolExecutor(threads) if threads else None
        self._prepared: dict[int, Future[tuple[np.ndarray, ...]]] = {}

    @property
    def num_batches(self) -> int:
        """Number of batches in an epoch."""
        samples = len(self.labels)
        return samples // self.batch_size if self.shuffle else -(-samples // self.batch_size)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        if not 0 <= index < self.num_batches:
            raise IndexError(f"Expected a batch of {self.num_batches}. Received: {index}")
        self._is_read |= index == self.num_batches - 1
        if self._threads is None:
            return self._prepare(index)
        for near in range(index, min(index + self._ahead + 1, self.num_batches)):
            if near not in self._prepared:
                self._prepared[near] = self._threads.submit(self._prepare, near)
        return self._prepared.pop(index).result()

    def _prepare(self, index: int) -> tuple[np.ndarray, ...]:
        rows = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        missing = -len(rows) % self.multiple_of
        filled = np.concatenate([rows, np.zeros(missing, rows.dtype)])
        images = self.images[filled]
        scale, offset = np.asarray(self.input_scaling, np.float32)
        if self.augmentation is not None:
            rng = np.random.default_rng((self.seed, self._epoch, index))
            fill = int(np.clip(np.round(-offset / scale), 0, 255))
            images = self.augmentation(images, rng, fill)
        x = images.astype(np.float32) * scale + offset
        if self.multiple_of == 1:
            return x, self.labels[filled]
        weights = np.ones(len(filled), np.float32)
        weights[len(rows) :] = 0
        return x, self.labels[filled], weights

    def on_epoch_end(self) -> None:
        """Goes on to the next epoch, if this one was read; Keras calls it also where none was."""
        for prepared in self._prepared.values():
            prepared.cancel()
        wait(self._prepared.values())
        self._prepared = {}
        if self._is_read:
            self._epoch += 1
            self._order = self._order_of_epoch()
            self._is_read = False

    def _order_of_epoch(self) -> np.ndarray:
        order = np.arange(len(self.labels))
        return (
            np.random.default_rng((self.seed, self._epoch)).permutation(order) if self.shuffle else order
        )
