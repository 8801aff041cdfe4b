"""A ready page for browsers from a trained model: it classifies pictures and what the camera sees."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_sbn.deployment.image_model import ImageModel, read_image_model
from keras_sbn.deployment.litert_js import LITERT_FILES, fetch_litert, read_litert
from keras_sbn.deployment.project_folder import expect_room, write_together
from keras_sbn.version import __version__

#: The files of the page, without the model's and the runtime's.
PAGE_FILES = (
    "app.js",
    "classifier.js",
    "icon.svg",
    "index.html",
    "opened.js",
    "pictures.js",
    "preprocessing.js",
    "style.css",
)
_MODEL = "model.tflite"
_SETTINGS = "model.json"
#: The form of the settings; `classifier.js` reads this one.
_FORMAT = 1
#: What LiteRT.js has arrays for.
_TYPES = ("float32", "uint8")


@dataclass(frozen=True)
class WebPage:
    """What was written.

    Attributes:
        folder: The page.
        files: Its files that were written, relative to the folder.
        litert_version: Version of LiteRT.js that was written; `None` where the page's own stayed.
    """

    folder: Path
    files: tuple[str, ...]
    litert_version: str | None


def page_template() -> Path:
    """The folder the page's files are copied from."""
    return Path(__file__).parent / "web_page"


def write_web_page(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    labels: Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
    litert: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> WebPage:
    """Writes a page that classifies pictures with a model in the browser, with all that it needs.

    A folder that holds such a page keeps its code and its LiteRT.js, and gets the new model. All files
    are written beside their places first: where one cannot be, nothing is changed.

    Args:
        model: A `.tflite` file of stock operators, `target="tflite"`, of one image, float32 or uint8, and
            one score a class.
        out: Folder for the page: one that is not there yet, is empty, or holds a page.
        labels: The classes; by default those of the file's metadata.
        input_range: `(low, high)`: what 0 and 255 of an image become before the network sees them; by
            default what the file's metadata say. A file that takes the 8-bit image needs none.
        litert: A folder into which npm installed `@litertjs/core`; by default npm fetches it, where the
            page has none.
        overwrite: Write the code of the page and LiteRT.js anew as well, where they are there.

    Returns:
        A `WebPage`.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If the model, labels or range do not fit, the model has operators or types that
            LiteRT.js does not have, LiteRT.js cannot be had, or `out` holds something else.
    """
    read = read_image_model(model, labels, input_range)
    _expect_runs(read, model)
    folder = Path(out)
    there = _is_page(folder)
    expect_room(folder, there, "a page of `keras-sbn deploy web`")
    files = {_MODEL: read.content, _SETTINGS: _settings(read, Path(model))}
    if overwrite or not there:
        files.update({name: (page_template() / name).read_bytes() for name in PAGE_FILES})
    version = None
    if litert is not None:
        contents, version = read_litert(litert)
        files.update(contents)
    elif overwrite or not all((folder / name).is_file() for name in LITERT_FILES):
        contents, version = fetch_litert()
        files.update(contents)
    write_together(folder, files)
    return WebPage(folder, tuple(files), version)


def _expect_runs(read: ImageModel, path: str | os.PathLike[str]) -> None:
    if read.needs_lce:
        raise ValueError(
            "Expected a file of stock operators, as LiteRT.js, which runs it in browsers, has none of "
            f"the Larq Compute Engine. Received: {path}, which has them. Convert with --target tflite, "
            'in Python target="tflite"'
        )
    for flag, dtype in (("input", str(read.values.dtype)), ("output", read.output.dtype)):
        if dtype not in _TYPES:
            raise ValueError(
                f"Expected an {flag} of float32 or uint8, which LiteRT.js has. Received: {path} with an "
                f"{flag} of {dtype}. Convert with --{flag}-type uint8, or without --{flag}-type"
            )


def _is_page(folder: Path) -> bool:
    try:
        return str(json.loads((folder / _SETTINGS).read_bytes())["written_by"]).startswith("keras-sbn")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _settings(read: ImageModel, path: Path) -> bytes:
    """What the page has to know of the model; every number in full."""
    scale = read.output.scales[0] if read.output.scales else 1.0
    zero_point = read.output.zero_points[0] if read.output.zero_points else 0
    settings: dict[str, Any] = {
        "format": _FORMAT,
        "written_by": f"keras-sbn {__version__}",
        "name": path.stem,
        "file": path.name,
        "labels": read.labels,
        "input": {
            "shape": read.shape,
            "dtype": str(read.values.dtype),
            "values": read.values.tolist(),
        },
        "output": {"dtype": read.output.dtype, "scale": scale, "zero_point": zero_point},
    }
    return f"{json.dumps(settings, ensure_ascii=False, indent=1)}\n".encode()
