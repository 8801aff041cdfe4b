"""Reading the files of NumPy, which may be damaged or somebody else's: arrays of numbers, or an error."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_BEGINS = {b"\x93NUM": ".npy", b"PK\x03\x04": ".npz", b"PK\x05\x06": ".npz"}


def physical_memory() -> int:
    """Bytes of memory of this machine, or a number that is never reached where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 1 << 62


def read_arrays(
    path: str | os.PathLike[str], wanted: Sequence[str] | None = None
) -> np.ndarray | dict[str, np.ndarray]:
    """Reads an `.npy` or `.npz` file; its begin says which it is. No pickle in it is opened.

    Args:
        path: The file.
        wanted: Names of the arrays of an `.npz` to read, where they are there; `None` reads all.

    Returns:
        The array, or the arrays by their names.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is neither, damaged, or larger than memory. The message names file and array.
    """
    with open(path, "rb") as file:
        kind = _BEGINS.get(file.read(4))
    if kind is None:
        raise ValueError(
            f"Expected an .npy or .npz file, as np.save and np.savez write them. Received: {path}"
        )
    if kind == ".npy":
        return _array(path, None, Path(path).stat().st_size)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
    except Exception as error:  # A damaged directory makes zipfile raise what it likes.
        raise ValueError(
            f"Expected an .npz file, as np.savez writes it. Received: {path} ({error})"
        ) from error
    names = [name for name in entries if wanted is None or name in wanted]
    total = sum(entries[name].file_size for name in names)
    if total > physical_memory():
        raise ValueError(
            f"Expected arrays that fit into the {physical_memory():,} bytes of memory. Received: {path} "
            f"with {total:,} bytes"
        )
    return {name: _array(path, name, entries[name].file_size) for name in names}


def _array(path: str | os.PathLike[str], name: str | None, size: int) -> np.ndarray:
    place = f"{path}" if name is None else f"{path}, {name}"
    try:
        found: Any = np.load(path, allow_pickle=False)
        if name is not None:
            with found as file:
                found = file[name]
        if isinstance(found, np.ndarray):
            return found
        said = "is no array of NumPy"
    except MemoryError as error:
        raise ValueError(
            f"Expected arrays that fit into memory. Received: {place} of {size:,} bytes in the file"
        ) from error
    # The header of an array is a piece of Python: a damaged one raises what its parser likes.
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        said = "holds Python objects" if "pickle" in str(error) else f"cannot be read: {error}"
    raise ValueError(f"Expected arrays of numbers. Received: {place} {said}")
