"""Writing files whole or not at all.

A file is written under another name in its folder, brought to the disk, and renamed: a reader sees the
old file or the new one, and so does a reader after a power cut. What is no ordinary file, such as a
device or a pipe, is written into.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def write_atomically(path: str | os.PathLike[str], content: bytes) -> Path:
    """Writes a file under a temporary name beside it, brings it to the disk, and renames it.

    A reader sees the old file or the new one, and an interrupted write leaves the old one whole. An
    existing file keeps its mode and, where this user may give it away, its owner; a new one has what the
    umask leaves of 0666. A symbolic link stays, and what it points to is written. A device, a pipe or
    a socket is written into.

    Args:
        path: Where to write.
        content: The bytes.

    Returns:
        The path.

    Raises:
        OSError: If the folder does not exist, the path is a folder, or something cannot be written. The
            message names the file or the folder.
    """
    place = _place(path)
    if place is None:
        return _write_into(path, content)
    with _folder_named(place.parent):
        temporary = _beside(place)
        # The mode of a new file is the umask's to decide.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        handle = os.open(temporary, flags, 0o666)
    try:
        with _file_named(path), os.fdopen(handle, "wb") as file:
            file.write(content)
        move_into_place(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return Path(path)


def save_model(model: Any, path: str | os.PathLike[str]) -> Path:
    """Saves a Keras model in the same way: in a temporary folder beside the file, then renamed.

    Args:
        model: The model.
        path: Where to write; its suffix says the format, as for `model.save`.

    Returns:
        The path.

    Raises:
        OSError: If the folder does not exist, the path is a folder, or something cannot be written.
        ValueError: If Keras knows no format of that suffix.
    """
    place = _place(path)
    beside = None if place is None else place.parent
    with _folder_named(beside or Path(tempfile.gettempdir())):
        folder = tempfile.TemporaryDirectory(dir=beside, prefix=".keras_sbn_")
    with folder:
        temporary = Path(folder.name) / Path(path).name
        with _file_named(path):
            model.save(temporary)
        if place is None:
            return _write_into(path, temporary.read_bytes())
        return move_into_place(temporary, path)


def move_into_place(temporary: Path, path: str | os.PathLike[str]) -> Path:
    """Brings a file or folder to the disk and renames it.

    Args:
        temporary: What was written, in the folder of its place or below it.
        path: Its place: an ordinary file, whose mode stays, or nothing yet.

    Returns:
        The path.

    Raises:
        OSError: If it cannot be done; the message names the place.
    """
    place = _place(path, temporary.is_dir())
    if place is None:
        raise OSError(f"Expected the path of an ordinary file. Received: {path}")
    with _file_named(path):
        if temporary.is_dir():
            for inner in temporary.rglob("*"):
                if inner.is_file():
                    _to_disk(inner)
        else:
            _to_disk(temporary)
        with suppress(FileNotFoundError):
            _take_over(os.stat(place), temporary)
        os.replace(temporary, place)
    # The name is kept in the folder; some file systems bring no folder to the disk, or do it anyway.
    with suppress(OSError):
        _to_disk(place.parent)
    return Path(path)


def _place(path: str | os.PathLike[str], folder: bool = False) -> Path | None:
    """The file to be renamed to, behind all links; `None` for what has to be written into."""
    name = os.fspath(path)
    try:
        mode = os.stat(name).st_mode
    except FileNotFoundError:
        return Path(os.path.realpath(name))
    if stat.S_ISDIR(mode) and not folder:
        raise IsADirectoryError(errno.EISDIR, "Expected the path of a file. It is a folder", name)
    # A link of the process, such as /dev/stdout, is a file that is open, whatever name that has.
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or _is_open_file(name):
        return None
    if not os.access(name, os.W_OK):
        raise PermissionError(
            errno.EACCES, "Expected a file that can be written. Permission denied", name
        )
    return Path(os.path.realpath(name))


def _is_open_file(name: str) -> bool:
    while os.path.islink(name):
        if os.path.abspath(name).startswith("/proc/"):
            return True
        name = os.path.join(os.path.dirname(name), os.readlink(name))
    return False


def _beside(place: Path) -> Path:
    # Short, as the name of the file may be as long as names can be.
    return place.with_name(f".keras_sbn_{secrets.token_hex(8)}.tmp")


def _write_into(path: str | os.PathLike[str], content: bytes) -> Path:
    with _file_named(path), open(path, "wb") as file:
        file.write(content)
    return Path(path)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _take_over(old: os.stat_result, path: Path) -> None:
    """Gives a new file the owner and the mode of the old one."""
    new = os.stat(path)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with suppress(PermissionError):
            os.chown(path, old.st_uid, old.st_gid)
    os.chmod(path, stat.S_IMODE(old.st_mode))


@contextmanager
def _folder_named(folder: Path) -> Iterator[None]:
    """Errors within it name the folder, and not the temporary name in it."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno, f"Expected a folder that can be written. {error.strerror}", str(folder)
        ) from error


@contextmanager
def _file_named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors within it, a full disk among them, name the file, and not the temporary name."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # HDF5 says it all in its text.
            raise OSError(f"Expected to write {os.fspath(path)}. {error}") from error
        raise OSError(error.errno, str(error.strerror), os.fspath(path)) from error
