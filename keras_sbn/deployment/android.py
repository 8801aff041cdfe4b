"""A ready Android project from a trained model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_sbn.deployment.image_model import ImageModel, read_image_model
from keras_sbn.files import write_atomically

_CODE = "app/src/main/kotlin/org/kerassbn/classifier"
#: The files of the project, without the model's.
PROJECT_FILES = (
    ".gitignore",
    "README.md",
    "app/build.gradle.kts",
    "app/src/main/AndroidManifest.xml",
    f"{_CODE}/Classifier.kt",
    f"{_CODE}/MainActivity.kt",
    f"{_CODE}/Preprocessing.kt",
    "app/src/main/res/drawable/ic_launcher.xml",
    "app/src/main/res/layout/activity_main.xml",
    "app/src/main/res/values/strings.xml",
    "app/src/main/res/values/themes.xml",
    "build.gradle.kts",
    "gradle.properties",
    "gradle/libs.versions.toml",
    "gradle/wrapper/gradle-wrapper.properties",
    "settings.gradle.kts",
)
_ASSETS = "app/src/main/assets"


@dataclass(frozen=True)
class AndroidProject:
    """What was written.

    Attributes:
        folder: The project.
        files: Its files that were written, relative to the folder.
        needs_lce: Whether the model has operators of the Larq Compute Engine, so that its AAR has to be
            put into `app/libs`.
    """

    folder: Path
    files: tuple[str, ...]
    needs_lce: bool


def project_template() -> Path:
    """The folder the project's files are copied from.

    Raises:
        FileNotFoundError: If the installation lacks it.
    """
    # In the wheel it lies in the package; in a clone of the repository it is the example itself.
    places = (Path(__file__).parent / "android_project", Path(__file__).parents[2] / "examples/android")
    for place in places:
        if (place / "settings.gradle.kts").exists():
            return place
    raise FileNotFoundError(
        f"Expected the Android project in {places[0]}. It is not there: install keras-sbn again"
    )


def write_android_project(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    labels: Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
) -> AndroidProject:
    """Writes a Gradle project of an app that classifies pictures with a model.

    A model for the portable target needs nothing but Gradle; one for the Larq Compute Engine its AAR in
    `app/libs` as well. A folder that holds such a project keeps its code and gets the new model.

    Args:
        model: A `.tflite` file of one image, float32 or 8-bit, and one score a class.
        out: Folder for the project: one that is not there yet, is empty, or holds a project.
        labels: The classes; by default those of the file's metadata.
        input_range: `(low, high)`: what 0 and 255 of an image become before the network sees them; by
            default what the file's metadata say. A file that takes the 8-bit image needs none.

    Returns:
        An `AndroidProject`.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If the model, labels or range do not fit, or `out` holds something else.
    """
    read = read_image_model(model, labels, input_range)
    folder = Path(out)
    files = {f"{_ASSETS}/{name}": content for name, content in _assets(read).items()}
    if not (folder / "settings.gradle.kts").exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(
                "Expected a folder that is not there, is empty, or holds an Android project. Received: "
                f"{folder}, which holds something else"
            )
        template = project_template()
        files.update({name: (template / name).read_bytes() for name in PROJECT_FILES})
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, content)
    return AndroidProject(folder, tuple(files), read.needs_lce)


def _assets(model: ImageModel) -> dict[str, bytes]:
    return {
        "model.tflite": model.content,
        "labels.txt": "".join(f"{label}\n" for label in model.labels).encode(),
        "input_values.bin": model.values.astype(model.values.dtype.newbyteorder("<")).tobytes(),
    }
