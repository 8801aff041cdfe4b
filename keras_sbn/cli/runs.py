"""What a run of `keras-sbn train` knows of the models in its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from keras_sbn.training.settings import read_toml


@dataclass(frozen=True)
class KnownRun:
    """The run that a model comes from.

    Attributes:
        source: The file that says so.
        input_scaling: `(scale, offset)`: the model sees ``scale * image + offset``.
        class_names: Names of the classes.
        quantize_first_layer: Whether the run quantizes a first float convolution.
    """

    source: Path
    input_scaling: tuple[float, float]
    class_names: list[str]
    quantize_first_layer: bool


def run_of(model: Path) -> KnownRun | None:
    """Returns the run whose model, or checkpoint, a file is; `None` where it is none of a run."""
    folder = model.resolve().parent
    if folder.name == "checkpoints":
        folder = folder.parent
    data, settings = folder / "data.json", folder / "run.toml"
    if not (data.is_file() and settings.is_file()):
        return None
    try:
        known = json.loads(data.read_text(encoding="utf-8"))
        scale, offset = known["input_scaling"]
        names = [str(name) for name in known["class_names"]]
        quantize = bool(read_toml(settings).get("quantize_first_layer", False))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected what `keras-sbn train` wrote. Received: {data}, which is damaged ({error}); give "
            "--input-scaling and --labels, or move the model to another folder"
        ) from error
    return KnownRun(data, (float(scale), float(offset)), names, quantize)
