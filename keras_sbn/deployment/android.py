"""A ready Android project from a trained model."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_sbn.deployment.image_model import ImageModel, read_image_model
from keras_sbn.deployment.project_folder import expect_room, write_together

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
_LIBRARIES = "app/libs"
_AAR = f"{_LIBRARIES}/larq-compute-engine.aar"


@dataclass(frozen=True)
class AndroidProject:
    """What was written.

    Attributes:
        folder: The project.
        files: Its files that were written, relative to the folder.
        needs_lce: Whether the model has operators of the Larq Compute Engine, whose AAR is in `app/libs`.
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
    aar: str | os.PathLike[str] | None = None,
) -> AndroidProject:
    """Writes a Gradle project of an app that classifies pictures with a model.

    A model for the portable target needs nothing but Gradle; one for the Larq Compute Engine its AAR as
    well. A folder that holds such a project keeps its code and gets the new model. All files are
    written beside their places first: where one cannot be, nothing is changed.

    Args:
        model: A `.tflite` file of one image, float32 or 8-bit, and one score a class.
        out: Folder for the project: one that is not there yet, is empty, or holds a project.
        labels: The classes; by default those of the file's metadata.
        input_range: `(low, high)`: what 0 and 255 of an image become before the network sees them; by
            default what the file's metadata say. A file that takes the 8-bit image needs none.
        aar: LCE's AAR, for a model with its operators; by default the one in the project's `app/libs`.

    Returns:
        An `AndroidProject`.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If the model, labels or range do not fit, the AAR is missing or none, or `out` holds
            something else.
    """
    read = read_image_model(model, labels, input_range)
    folder = Path(out)
    new = not (folder / "settings.gradle.kts").exists()
    expect_room(folder, not new, "an Android project")
    files = {f"{_ASSETS}/{name}": content for name, content in _assets(read).items()}
    if aar is not None:
        files[_AAR] = _read_aar(Path(aar))
    elif read.needs_lce and not any((folder / _LIBRARIES).glob("*.aar")):
        raise ValueError(
            f"Expected the AAR of the Larq Compute Engine for {model}, which has its operators. "
            "Received: none. Give it (--aar FILE): LCE's script larq_compute_engine/tflite/java/"
            "build_lce_aar.sh, in a clone of github.com/larq/compute-engine, makes it. Or convert with "
            "--target tflite, which needs none"
        )
    if new:
        template = project_template()
        files.update({name: (template / name).read_bytes() for name in PROJECT_FILES})
    write_together(folder, files)
    return AndroidProject(folder, tuple(files), read.needs_lce)


def _read_aar(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        names = []
    native = any(name.startswith("jni/") and name.endswith(".so") for name in names)
    if "classes.jar" not in names or not native:
        raise ValueError(
            "Expected an AAR of an interpreter: a zip archive with classes.jar and jni/*/*.so, as LCE's "
            f"build_lce_aar.sh makes it. Received: {path}"
        )
    return path.read_bytes()


def _assets(model: ImageModel) -> dict[str, bytes]:
    return {
        "model.tflite": model.content,
        "labels.txt": "".join(f"{label}\n" for label in model.labels).encode(),
        "input_values.bin": model.values.astype(model.values.dtype.newbyteorder("<")).tobytes(),
    }
