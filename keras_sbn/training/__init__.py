"""Whole trainings from settings: what `keras-sbn train` runs, and what a script can call."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_sbn.training.distillation import Distillation as Distillation
    from keras_sbn.training.result import TrainResult as TrainResult
    from keras_sbn.training.run import train as train
    from keras_sbn.training.settings import TrainSettings as TrainSettings

# The command line knows the settings before Keras is imported, so the rest waits until it is asked for.
_NAMES = {
    "Distillation": "distillation",
    "TrainResult": "result",
    "TrainSettings": "settings",
    "train": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
