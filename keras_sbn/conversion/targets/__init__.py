"""The targets that `convert` knows. A new one is a file here and an entry in this list."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_sbn.conversion.targets.base import Target

#: The class of every target, by the name that `convert` takes, which its file here has as well; the
#: smallest file first. Names are known without Keras.
TARGETS = {
    "lce": "LceTarget",
    "tflite": "TfliteTarget",
    "micro": "MicroTarget",
    "c": "CTarget",
    "onnx": "OnnxTarget",
}
#: What `save` writes where that is no .tflite file.
SUFFIXES = {"c": ".c", "onnx": ".onnx"}
#: The targets whose files are .tflite files.
TFLITE_TARGETS = tuple(name for name in TARGETS if name not in SUFFIXES)
#: What a training writes where nothing else is asked for.
RUN_TARGETS = ("lce", "tflite")


def target_class(name: str) -> type[Target]:
    """The class of a target."""
    found: type[Target] = getattr(importlib.import_module(f"{__name__}.{name}"), TARGETS[name])
    return found
