"""Self-binarizing networks for Keras 3: train, sharpen, fold, convert, verify."""

from keras_sbn import callbacks as callbacks
from keras_sbn import layers as layers
from keras_sbn import schedules as schedules
from keras_sbn import sharpness as sharpness
from keras_sbn.binarize import BinarizationReport as BinarizationReport
from keras_sbn.binarize import binarize as binarize
from keras_sbn.conversion import ConversionReport as ConversionReport
from keras_sbn.conversion import ConvertedModel as ConvertedModel
from keras_sbn.conversion import Verification as Verification
from keras_sbn.conversion import convert as convert
from keras_sbn.conversion import verify as verify
from keras_sbn.folding import fold as fold

__version__ = "0.1.0"
