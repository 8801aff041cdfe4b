"""Folders that are written together: all of their files, or none."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from keras_sbn.files import move_into_place


def write_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files into a folder beside their places, and moves them there when all are written.

    Args:
        folder: The folder; made where missing.
        files: Contents by path relative to the folder, with "/".

    Raises:
        OSError: If something cannot be written; nothing is changed then.
    """
    there = folder.is_dir()
    place = folder if there else folder.parent
    try:
        place.mkdir(parents=True, exist_ok=True)
        staging = tempfile.TemporaryDirectory(dir=place, prefix=".keras_sbn_")
    except OSError as error:
        raise type(error)(
            error.errno, f"Expected a folder that can be written. {error.strerror}", str(place)
        ) from error
    with staging as temporary:
        staged = Path(temporary) / "project"
        for name, content in files.items():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).write_bytes(content)
        if not there:
            move_into_place(staged, folder)
            return
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            move_into_place(staged / name, folder / name)


def expect_room(folder: Path, is_project: bool, what: str) -> None:
    """Checks that a folder is not there yet, is empty, or holds what is going to be written.

    Args:
        folder: The folder.
        is_project: Whether it holds such a project.
        what: Its name, for the message: "an Android project".

    Raises:
        ValueError: If it holds something else.
    """
    if is_project or not folder.exists():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise ValueError(
            f"Expected a folder that is not there, is empty, or holds {what}. Received: {folder}, which "
            "holds something else"
        )
