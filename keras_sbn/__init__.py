"""Self-binarizing networks for Keras 3: train, sharpen, fold, convert, verify."""

import importlib
from typing import TYPE_CHECKING, Any

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

# Registers the folded layers, so that a folded `.keras` file loads.
from keras_sbn.folding import layers as _folded_layers  # noqa: F401
from keras_sbn.sharpening import sharpen as sharpen
from keras_sbn.statistics import (
    reestimate_batch_normalization as reestimate_batch_normalization,
)
from keras_sbn.summary import summary as summary

if TYPE_CHECKING:
    from keras_sbn.conversion.convert import convert as convert
    from keras_sbn.conversion.converted import ConvertedModel as ConvertedModel
    from keras_sbn.conversion.inspection import inspect as inspect
    from keras_sbn.conversion.report import ConversionReport as ConversionReport
    from keras_sbn.export import export_binary as export_binary
    from keras_sbn.folding.fold import fold as fold
    from keras_sbn.verification.latency import Latency as Latency
    from keras_sbn.verification.latency import benchmark as benchmark
    from keras_sbn.verification.result import Verification as Verification
    from keras_sbn.verification.verify import verify as verify

__version__ = "0.1.0"

#: What comes after training is loaded where it is first used, so that training starts sooner.
_AFTER_TRAINING = {
    "ConversionReport": "keras_sbn.conversion.report",
    "ConvertedModel": "keras_sbn.conversion.converted",
    "Latency": "keras_sbn.verification.latency",
    "Verification": "keras_sbn.verification.result",
    "benchmark": "keras_sbn.verification.latency",
    "convert": "keras_sbn.conversion.convert",
    "export_binary": "keras_sbn.export",
    "fold": "keras_sbn.folding.fold",
    "inspect": "keras_sbn.conversion.inspection",
    "verify": "keras_sbn.verification.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _AFTER_TRAINING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_AFTER_TRAINING[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_AFTER_TRAINING})
