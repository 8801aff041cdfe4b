"""Where 8-bit images come from: an array, files, or anything that is read by its index."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

#: How many bytes of decoded images are kept in memory, unless told otherwise.
CACHE_BYTES = 2 << 30
#: Number of EXIF's note of how a picture has to be turned.
_ORIENTATION = 0x0112


class Records(Protocol):
    """Samples that are read by their index, each a dictionary."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Images:
    """Images of one shape, read when they are asked for and then kept, where memory allows.

    Args:
        count: Number of images.
        shape: `(height, width, channels)`.
        read: From an index to a uint8 array of that shape.
        cache_bytes: Largest number of bytes to keep decoded; sets that are larger are read every time.
    """

    def __init__(
        self,
        count: int,
        shape: tuple[int, int, int],
        read: Callable[[int], np.ndarray],
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.count = count
        self.shape = shape
        self._read = read
        self._kept: np.ndarray | None = None
        self._is_kept = np.zeros(count, bool)
        if count * int(np.prod(shape)) <= cache_bytes:
            self._kept = np.empty((count, *shape), np.uint8)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, indices: Any) -> np.ndarray:
        """The images at `indices`, a slice or integers: `(n, height, width, channels)`, uint8."""
        where = np.arange(self.count)[indices]
        if self._kept is None:
            images = [self._checked(index) for index in where]
            return np.stack(images) if images else np.empty((0, *self.shape), np.uint8)
        # Two threads may read the same image; they write the same values.
        for index in where[~self._is_kept[where]]:
            self._kept[index] = self._checked(index)
            self._is_kept[index] = True
        return self._kept[where]

    def _checked(self, index: int) -> np.ndarray:
        image = self._read(int(index))
        if image.shape != self.shape or image.dtype != np.uint8:
            raise ValueError(
                f"Expected uint8 images of shape {self.shape}. Received: image {index} of shape "
                f"{image.shape}, {image.dtype}. Give `image_size` to bring all to one size."
            )
        return image


def from_array(array: np.ndarray) -> Images:
    """Images that are in memory: uint8, `(n, height, width)` or `(n, height, width, channels)`.

    Raises:
        ValueError: If the array is none of these.
    """
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim != 4 or array.dtype != np.uint8:
        raise ValueError(
            "Expected images as uint8, (n, height, width) or (n, height, width, channels). Received: "
            f"shape {array.shape}, {array.dtype}"
        )
    height, width, channels = array.shape[1:]
    images = Images(len(array), (height, width, channels), lambda index: array[index], cache_bytes=0)
    images._kept, images._is_kept = array, np.ones(len(array), bool)
    return images


def from_files(
    paths: Sequence[Path],
    image_size: tuple[int, int] | None,
    cache_bytes: int = CACHE_BYTES,
    channels: int | None = None,
) -> Images:
    """Images that are decoded from files by Pillow, turned upright, and cut to size by `fit_image`.

    Args:
        paths: At least one file.
        image_size: `(height, width)` to bring every image to; `None` takes that of the first.
        cache_bytes: See `Images`.
        channels: 1 or 3; `None` takes 1 where the first image is grey.

    Raises:
        ImportError: If Pillow is not installed.
        ValueError: If a file is not an image.
    """
    first = _pixels(paths[0])
    if channels is None:
        channels = 1 if first.ndim == 2 else 3
    height, width = image_size or first.shape[:2]
    shape = (height, width, channels)

    def read(index: int) -> np.ndarray:
        image = _fitted(paths[index], channels, image_size)
        if image.shape != shape:
            raise ValueError(
                f"Expected images of shape {shape}, as {paths[0]}. Received: {paths[index]} of shape "
                f"{image.shape}. Give `image_size` to bring all to one size."
            )
        return image

    return Images(len(paths), shape, read, cache_bytes)


def from_records(
    records: Records,
    image_size: tuple[int, int] | None,
    cache_bytes: int = CACHE_BYTES,
) -> Images:
    """Images of records with the key "image", such as a data source of tensorflow-datasets."""
    from keras_sbn.deployment.preprocessing import fit_image

    first = np.asarray(records[0]["image"])
    height, width, channels = first.shape
    size = image_size or (height, width)

    def read(index: int) -> np.ndarray:
        image = np.asarray(records[index]["image"])
        if image_size is None or image.shape[:2] == image_size:
            return image
        return fit_image(image, *image_size, image.shape[-1])

    return Images(len(records), (*size, channels), read, cache_bytes)


def _fitted(path: Path, channels: int, image_size: tuple[int, int] | None) -> np.ndarray:
    """The pixels as a device makes them of the same picture."""
    from keras_sbn.deployment.preprocessing import fit_image

    pixels = _pixels(path)
    height, width = image_size or pixels.shape[:2]
    try:
        return fit_image(pixels, height, width, channels)
    except MemoryError as error:
        raise ValueError(
            f"Expected an image that fits into memory. Received: {path} of {pixels.shape[1]} x "
            f"{pixels.shape[0]} pixels, for {width} x {height}"
        ) from error


def _pixels(path: Path) -> np.ndarray:
    """An image as uint8, `(height, width)` of grey or `(height, width, 3)`, turned upright.

    Of an animation it is the first image. Transparency is left out, and of 16 bits the upper 8 are taken.
    """
    module = _pillow("Image")
    size = ""
    try:
        with module.open(path) as image:
            size = f"{image.width} x {image.height} pixels"
            limit = module.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise ValueError(f"more than {limit:,} pixels, which PIL.Image.MAX_IMAGE_PIXELS allows")
            image.load()
            # Cameras turn pictures by a note in the file; a device's decoder heeds it.
            if image.getexif().get(_ORIENTATION, 1) != 1:
                image = _pillow("ImageOps").exif_transpose(image)
            return _as_uint8(image)
    # Each decoder raises what it likes; a bomb, Pillow's word, and too little memory are among it.
    except Exception as error:
        said = ", ".join(part for part in (size, str(error) or type(error).__name__) if part)
        raise ValueError(f"Expected an image that Pillow reads. Received: {path} ({said})") from error


def _as_uint8(image: Any) -> np.ndarray:
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format == "PNG"):
        return (np.asarray(image) >> 8).astype(np.uint8)
    if mode in ("I", "F"):
        raise ValueError(f"mode {mode!r}, of 32 bits a pixel; save it with 8 or 16 bits")
    if mode in ("1", "L", "LA", "La"):
        return np.asarray(image if mode == "L" else image.convert("L"))
    if mode == "P" and "transparency" in image.info:
        # Pillow warns of the shorter way.
        image = image.convert("RGBA")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _pillow(module: str) -> Any:
    try:
        return importlib.import_module(f"PIL.{module}")
    except ImportError as error:
        raise ImportError("Image files need Pillow: pip install 'keras-sbn[images]'") from error
