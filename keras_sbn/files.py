"""Writing files whole or not at all."""

from __future__ import annotations

import os
import tempfile
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
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise type(error)(
            error.errno, f"Expected a folder that can be written. {error.strerror}", str(target.parent)
        ) from error
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
    """Saves a Keras model as `.keras`, whole or not at all, and returns the path.

    Raises:
        OSError: If the folder does not exist or cannot be written; a file that was there is unharmed.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "model.keras"
        model.save(whole)
        return write_atomically(path, whole.read_bytes())
