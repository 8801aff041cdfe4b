"""The folder of a run: what may be written into it, and what is known of the data from then on."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from keras_sbn.files import write_atomically
from keras_sbn.training.settings import TrainSettings

if TYPE_CHECKING:
    from keras_sbn.data import ImageDataset

#: The settings, and what is known of the data: classes and input scaling.
SETTINGS, DATA = "run.toml", "data.json"
#: Everything that a run writes.
_WRITTEN = (
    SETTINGS,
    DATA,
    "history.csv",
    "sharpness.*",
    "model.keras",
    "folded.keras",
    "model_*.tflite",
    "result.json",
    "report.html",
    "checkpoints",
    "logs",
)


def check_folder(settings: TrainSettings, folder: Path, resume: bool, overwrite: bool) -> None:
    """Refuses a folder that holds another run; writes nothing.

    Raises:
        ValueError: If it does, and it is neither to be resumed nor overwritten.
    """
    if resume and overwrite:
        raise ValueError("Expected to resume a run or to overwrite it. Received: both")
    stored = folder / SETTINGS
    has_run = stored.exists() or any((folder / "checkpoints").glob("epoch-*"))
    if overwrite or not has_run:
        return
    if not resume:
        raise ValueError(
            f"Expected an empty folder for a new run. Received: {folder}, which holds one; go on with it "
            "(--resume), remove it first (--overwrite), or take another folder."
        )
    if stored.exists():
        found = replace(TrainSettings.read_whole(stored), backend=settings.backend)
        changed = [name for name, value in asdict(settings).items() if value != asdict(found)[name]]
        if changed:
            raise ValueError(
                f"Expected the settings of the run in {folder} to resume it. Received others for: "
                f"{', '.join(changed)}"
            )
        _check_models(settings, folder / DATA)


def _checksums(settings: TrainSettings) -> dict[str, str]:
    """The float models of a run by path, and what is in them."""
    from keras_sbn.training.float_models import checksum

    return {path: checksum(path) for path in (settings.source, settings.teacher) if path is not None}


def _check_models(settings: TrainSettings, data: Path) -> None:
    """Raises a ValueError if a float model is not the one that the run began with."""
    paths = [path for path in (settings.source, settings.teacher) if path is not None]
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise ValueError(
            f"Expected the float model that the run began with. Received: {missing[0]}, which is not "
            f"there; "
            "bring it back to resume"
        )
    try:
        known = json.loads(data.read_text(encoding="utf-8")).get("models", {}) if paths else {}
    except (OSError, ValueError, AttributeError):
        return
    for path, found in _checksums(settings).items():
        if known.get(path, found) != found:
            raise ValueError(
                f"Expected the float model that the run began with. Received: {path} with other "
                f"contents; "
                "bring the old ones back, or begin anew (--overwrite)"
            )


def begin(settings: TrainSettings, dataset: ImageDataset, folder: Path, overwrite: bool) -> None:
    """Makes the folder, without a run that is to be overwritten, and writes what is known already."""
    folder.mkdir(parents=True, exist_ok=True)
    if overwrite:
        for path in (path for name in _WRITTEN for path in folder.glob(name)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    settings.save(folder / SETTINGS)
    known = {
        "input_scaling": dataset.input_scaling,
        "class_names": dataset.class_names,
        "models": _checksums(settings),
    }
    write_atomically(folder / DATA, json.dumps(known, indent=2).encode())
