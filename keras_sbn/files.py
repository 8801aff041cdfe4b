"""Writing files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_atomically(path: str | os.PathLike[str], content: bytes) -> Path:
    """Writes a file under a temporary name beside it, then renames it.

    A reader sees the old file or the new one, and an interrupted write leaves the old one whole.

    Args:
        path: Where to write.
        content: The bytes.

    Returns:
        The path.

    Raises:
        OSError: If the folder does not exist or cannot be written.
    """
    target = Path(path)
    with _folder_named(target.parent):
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; this one gets what an ordinary new file has.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    return target


def save_model(model: Any, path: str | os.PathLike[str]) -> Path:
    """Saves a Keras model in the same way: in a temporary folder beside the file, then renamed.

    Args:
        model: The model.
        path: Where to write; its suffix says the format, as for `model.save`.

    Returns:
        The path.

    Raises:
        OSError: If the folder does not exist or cannot be written.
        ValueError: If Keras knows no format of that suffix.
    """
    target = Path(path)
    with _folder_named(target.parent):
        folder = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.")
    with folder:
        temporary = Path(folder.name) / target.name
        model.save(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    return target


@contextmanager
def _folder_named(folder: Path) -> Iterator[None]:
    """Errors within it name the folder, and not the temporary name in it."""
    try:
        yield
    except OSError as error:
        raise type(error)(
            error.errno, f"Expected a folder that can be written. {error.strerror}", str(folder)
        ) from error
