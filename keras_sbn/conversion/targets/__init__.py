"""The targets that `convert` knows. A new one is a file here and an entry in this list."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_sbn.conversion.targets.base import Target

#: File and class of every target, by the name that `convert` takes; the smallest file first. Names are
#: known without Keras.
TARGETS = {
    "lce": ("lce", "LceTarget"),
    "tflite": ("tflite", "TfliteTarget"),
    "micro": ("micro", "MicroTarget"),
    "c": ("c", "CTarget"),
    "onnx": ("onnx", "OnnxTarget"),
}
#: What `save` writes where that is no .tflite file.
SUFFIXES = {"c": ".c", "onnx": ".onnx"}
#: The targets whose files are .tflite files.
TFLITE_TARGETS = tuple(name for name in TARGETS if name not in SUFFIXES)
#: What a training writes where nothing else is asked for.
RUN_TARGETS = ("lce", "tflite")


def target_class(name: str) -> type[Target]:
    """The class of a target."""
    file, kind = TARGETS[name]
    found: type[Target] = getattr(importlib.import_module(f"{__name__}.{file}"), kind)
    return found
