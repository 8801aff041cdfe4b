"""Self-binarizing networks for Keras 3: train, sharpen, fold, convert, verify."""

import importlib
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from keras_sbn.backend import import_keras
from keras_sbn.version import __version__ as __version__

if TYPE_CHECKING:
    from keras_sbn import callbacks as callbacks
    from keras_sbn import data as data
    from keras_sbn import larq as larq
    from keras_sbn import layers as layers
    from keras_sbn import metrics as metrics
    from keras_sbn import models as models
    from keras_sbn import plots as plots
    from keras_sbn import schedules as schedules
    from keras_sbn import sharpness as sharpness
    from keras_sbn import training as training
    from keras_sbn.binarize import BinarizationReport as BinarizationReport
    from keras_sbn.binarize import agreement as agreement
    from keras_sbn.binarize import binarize as binarize
    from keras_sbn.conversion.convert import convert as convert
    from keras_sbn.conversion.converted import ConvertedModel as ConvertedModel
    from keras_sbn.conversion.converted_c import ConvertedC as ConvertedC
    from keras_sbn.conversion.converted_onnx import ConvertedOnnx as ConvertedOnnx
    from keras_sbn.conversion.inspection import inspect as inspect
    from keras_sbn.conversion.report import ConversionReport as ConversionReport
    from keras_sbn.export import export_binary as export_binary
    from keras_sbn.folding.fold import fold as fold
    from keras_sbn.from_keras.binary_model import BinaryModel as BinaryModel
    from keras_sbn.from_keras.binary_model import binary_model as binary_model
    from keras_sbn.from_keras.plan import Plan as Plan
    from keras_sbn.from_keras.plan import plan as plan
    from keras_sbn.sharpening import sharpen as sharpen
    from keras_sbn.statistics import (
        reestimate_batch_normalization as reestimate_batch_normalization,
    )
    from keras_sbn.summary import summary as summary
    from keras_sbn.verification.latency import Latency as Latency
    from keras_sbn.verification.latency import benchmark as benchmark
    from keras_sbn.verification.result import Verification as Verification
    from keras_sbn.verification.verify import verify as verify

#: What training needs, and so what `import keras_sbn` imports: modules, and functions by their module.
_MODULES = (
    "callbacks",
    "data",
    "larq",
    "layers",
    "metrics",
    "models",
    "plots",
    "schedules",
    "sharpness",
    "training",
)
_TRAINING = {
    "BinarizationReport": "keras_sbn.binarize",
    "agreement": "keras_sbn.binarize",
    "binarize": "keras_sbn.binarize",
    "reestimate_batch_normalization": "keras_sbn.statistics",
    "sharpen": "keras_sbn.sharpening",
    "summary": "keras_sbn.summary",
}
#: What comes before or after training is imported where it is first used: training starts sooner.
_AROUND_TRAINING = {
    "BinaryModel": "keras_sbn.from_keras.binary_model",
    "Plan": "keras_sbn.from_keras.plan",
    "ConversionReport": "keras_sbn.conversion.report",
    "ConvertedC": "keras_sbn.conversion.converted_c",
    "ConvertedModel": "keras_sbn.conversion.converted",
    "ConvertedOnnx": "keras_sbn.conversion.converted_onnx",
    "Latency": "keras_sbn.verification.latency",
    "Verification": "keras_sbn.verification.result",
    "benchmark": "keras_sbn.verification.latency",
    "binary_model": "keras_sbn.from_keras.binary_model",
    "plan": "keras_sbn.from_keras.plan",
    "convert": "keras_sbn.conversion.convert",
    "export_binary": "keras_sbn.export",
    "fold": "keras_sbn.folding.fold",
    "inspect": "keras_sbn.conversion.inspection",
    "verify": "keras_sbn.verification.verify",
}


def _import_training() -> None:
    """Imports Keras and what training needs; from then on a `.keras` file with our layers loads."""
    import_keras()
    found: dict[str, Any] = {name: importlib.import_module(f"keras_sbn.{name}") for name in _MODULES}
    for name, module in _TRAINING.items():
        found[name] = getattr(importlib.import_module(module), name)
    # Registers the folded layers.
    importlib.import_module("keras_sbn.folding.layers")
    # At the end, as a function can have the name of the module that it is in.
    globals().update(found)


def _command_line_starts() -> bool:
    """Whether the package is imported for `keras-sbn` or `python -m keras_sbn`.

    The command line imports Keras once it knows the backend, and for `--help` or `inspect` not at all.
    """
    if getattr(sys.modules.get("_keras_sbn_command"), "starting", False):
        return True
    # Until it has imported the package, `python -m` has "-m" where the name of the program will be.
    given = sys.orig_argv
    named = any(flag.endswith("m") and name == "keras_sbn" for flag, name in pairwise(given))
    return sys.argv[:1] == ["-m"] and (named or "-mkeras_sbn" in given)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"keras_sbn.{name}")
    module = {**_TRAINING, **_AROUND_TRAINING}.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_TRAINING, *_AROUND_TRAINING})


if not _command_line_starts():
    _import_training()
