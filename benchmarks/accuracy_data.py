"""The data sets of the accuracy benchmark: digits, MNIST and CIFAR-10, split, shrunk and augmented.

Pixels are averaged over 2 x 2 blocks where a preset asks for half the size, rounded to 8 bits, and scaled
to [-1, 1) by powers of two, so that sums of them are exact in float32.
"""

from __future__ import annotations

import io
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "keras_sbn"
#: Seed of the split and of the subset: the same images for every method and every seed of training.
_SPLIT_SEED = 2019


@dataclass(frozen=True)
class Data:
    """Images `(n, height, width, channels)` of float32 and their classes."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.train[0].shape[1:]


def load(
    name: str,
    data_dir: str | Path | None,
    *,
    train: int | None,
    validation: int,
    half_size: bool,
    test: int | None = None,
) -> Data:
    """Loads and splits a data set.

    Args:
        name: `"digits"`, `"mnist"` or `"cifar10"`.
        data_dir: Folder with `mnist.npz` (`x_train`, `y_train`, `x_test`, `y_test`) or with CIFAR-10 as
            `cifar10-images.tar.xz`, or as folders `train/CLASS/*.jpg` and `test/CLASS/*.jpg`. `None`
            takes tensorflow-datasets, which downloads. The digits need neither.
        train: Number of training images; `None` takes all that the validation split leaves.
        validation: Number of validation images, taken from the training images.
        half_size: Whether blocks of 2 x 2 pixels are averaged.
        test: Number of test images; `None`, which every published figure has, takes all.

    Raises:
        FileNotFoundError: If `data_dir` does not hold the data set.
        ValueError: If the name is unknown or there are too few images.
    """
    readers = {"digits": _digits, "mnist": _mnist, "cifar10": _cifar10}
    if name not in readers:
        raise ValueError(f"Expected a data set of {sorted(readers)}. Received: name={name!r}")
    (x, y), (x_test, y_test) = readers[name](data_dir)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(x))
    wanted = len(x) - validation if train is None else train
    if not 0 < wanted <= len(x) - validation:
        raise ValueError(
            f"Expected at most {len(x)} images for training and validation of {name}. Received: "
            f"train={train}, validation={validation}"
        )
    held_out, used = order[:validation], order[validation : validation + wanted]

    def prepare(images: np.ndarray) -> np.ndarray:
        if half_size:
            n, height, width, channels = images.shape
            blocks = images.reshape(n, height // 2, 2, width // 2, 2, channels)
            images = np.round(blocks.mean(axis=(2, 4), dtype="float32"))
        return (images / np.float32(128) - 1).astype("float32")

    return Data(
        (prepare(x[used]), y[used]),
        (prepare(x[held_out]), y[held_out]),
        (prepare(x_test[:test]), y_test[:test]),
    )


def _digits(data_dir: Any) -> Any:
    from keras_sbn.demo import digits

    (x_train, y_train), (x_test, y_test) = digits()
    return (x_train * 256, y_train), (x_test * 256, y_test)


def _mnist(data_dir: str | Path | None) -> Any:
    if data_dir is None:
        return _from_tensorflow_datasets("mnist")
    path = Path(data_dir) / "mnist.npz"
    if not path.exists():
        raise FileNotFoundError(f"Expected MNIST in {path}. Give the folder it is in as --data-dir.")
    with np.load(path) as stored:
        x_train, x_test = stored["x_train"], stored["x_test"]
        y_train, y_test = stored["y_train"], stored["y_test"]
    return (_with_channel(x_train), y_train.astype("int32")), (
        _with_channel(x_test),
        y_test.astype("int32"),
    )


def _with_channel(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), 28, 28, 1)


def _cifar10(data_dir: str | Path | None) -> Any:
    if data_dir is None:
        return _from_tensorflow_datasets("cifar10")
    cached = CACHE / "cifar10.npz"
    if not cached.exists():
        images = _decode_folder(Path(data_dir))
        CACHE.mkdir(parents=True, exist_ok=True)
        temporary = cached.with_name(f"{os.getpid()}.npz")
        np.savez(temporary, **images)
        temporary.replace(cached)
    with np.load(cached) as stored:
        return (stored["x_train"], stored["y_train"]), (stored["x_test"], stored["y_test"])


def _decode_folder(folder: Path) -> dict[str, np.ndarray]:
    """Reads `train/CLASS/*` and `test/CLASS/*`, from a tar file in `folder` or from the folder."""
    from PIL import Image

    archives = sorted(folder.glob("cifar10*.tar*"))
    files: list[tuple[str, bytes]] = []
    if archives:
        with tarfile.open(archives[0]) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:  # of a folder
                    files.append((member.name, content.read()))
    else:
        files = [(path.as_posix(), path.read_bytes()) for path in sorted(folder.glob("t*/*/*"))]

    def decode(file: tuple[str, bytes]) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(file[1])).convert("RGB"))

    found: dict[str, list[tuple[str, np.ndarray]]] = {"train": [], "test": []}
    with ThreadPoolExecutor() as pool:
        for (name, _), image in zip(files, pool.map(decode, files, chunksize=500), strict=True):
            split, label, _ = name.split("/")[-3:]
            found[split].append((f"{label}/{name}", image))
    if not all(found.values()):
        raise FileNotFoundError(
            f"Expected CIFAR-10 in {folder}: cifar10-images.tar.xz, or train/CLASS/ and test/CLASS/ with "
            "images. Give another --data-dir, or none to download with tensorflow-datasets."
        )
    arrays = {}
    for split, images in found.items():
        images.sort(key=lambda item: item[0])
        classes = sorted({name.split("/")[0] for name, _ in images})
        arrays[f"x_{split}"] = np.stack([image for _, image in images])
        arrays[f"y_{split}"] = np.array([classes.index(n.split("/")[0]) for n, _ in images], "int32")
    return arrays


def _from_tensorflow_datasets(name: str) -> Any:
    import tensorflow_datasets as tfds

    parts = []
    for split in ("train", "test"):
        images, labels = tfds.as_numpy(tfds.load(name, split=split, batch_size=-1, as_supervised=True))
        parts.append((images, labels.astype("int32")))
    return tuple(parts)


class Batches:
    """Shuffled, augmented batches: the same for every method, framework and backend of one seed.

    Meant as a base beside `keras.utils.PyDataset`. `begin(epoch)` says which epoch it is; Keras's own
    `on_epoch_end` comes at times that differ from backend to backend.

    Args:
        images: `(n, height, width, channels)`.
        classes: `(n,)`.
        size: Images in a batch; what does not fill one is left out of the epoch.
        seed: Seed of order and augmentation.
        shift: Largest shift in pixels, in both directions.
        flip: Whether images are mirrored, half of them.
    """

    def __init__(
        self,
        images: np.ndarray,
        classes: np.ndarray,
        size: int,
        seed: int,
        shift: int = 0,
        flip: bool = False,
    ) -> None:
        super().__init__()
        self.images, self.classes, self.size = images, classes, size
        self.shift, self.flip = shift, flip
        self.seed = seed
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Shuffles and augments for that epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.images))
        self._x, self._y = self.images[order], self.classes[order]
        n, height, width, _ = self.images.shape
        if self.shift:
            edges = ((0, 0), (self.shift, self.shift), (self.shift, self.shift), (0, 0))
            # The border repeats the edge of the image, which is a color that the image has.
            padded = np.pad(self._x, edges, mode="edge")
            windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
            rows, columns = rng.integers(0, 2 * self.shift + 1, (2, n))
            self._x = np.moveaxis(windows[np.arange(n), rows, columns], 1, -1)
        if self.flip:
            mirrored = rng.random(n) < 0.5
            self._x = np.where(mirrored[:, None, None, None], self._x[:, :, ::-1], self._x)

    def __len__(self) -> int:
        return len(self.images) // self.size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        part = slice(index * self.size, (index + 1) * self.size)
        return np.ascontiguousarray(self._x[part]), self._y[part]
