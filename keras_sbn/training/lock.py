"""One training at a time in the folder of a run."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAME = ".lock"

#: What a process that was killed leaves of the files it was writing (`keras_sbn.files`).
_WRITTEN = r"(run\.toml|\w+\.json|history\.csv|report\.html|sharpness\.npz|model\w*\.\w+|epoch-\d+\.\w+)"
_LEFT = re.compile(rf"\.(keras_sbn_.+|{_WRITTEN}\.[a-z0-9_]{{8}}|epoch-\d+\.tmp\.keras)")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within it, no other process and no other thread trains in `folder`.

    The lock is the operating system's: it ends with the process, however that ends. The folder is made
    where it is missing, and removed again where it stayed empty.

    Raises:
        ValueError: If the folder is locked.
        OSError: If it cannot be made or written.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _NAME
    handle = _acquire(path)
    try:
        yield
    finally:
        # Removed while it is held: whoever opened it meanwhile sees that it is another file.
        path.unlink(missing_ok=True)
        os.close(handle)
        if made:
            with suppress(OSError):
                folder.rmdir()


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files and folders of a process that was killed; call it within `locked`."""
    for path in (*folder.glob(".*"), *(folder / "checkpoints").glob(".*")):
        if _LEFT.fullmatch(path.name):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _acquire(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(handle)
        except OSError:
            owner = os.read(handle, 32).decode(errors="replace").strip()
            os.close(handle)
            raise ValueError(
                f"Expected a folder in which no other process trains. Received: {path.parent}, in which "
                f"process {owner or 'of unknown number'} does; wait for it, or end it first."
            ) from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                os.ftruncate(handle, 0)
                os.write(handle, f"{os.getpid()}\n".encode())
                return handle
        # The process before removed the file after it was opened here.
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        # A byte far behind the number of the process, which others may read.
        os.lseek(handle, 1024, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
