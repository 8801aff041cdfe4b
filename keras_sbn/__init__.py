"""Self-binarizing networks for Keras 3: train, sharpen, fold, convert, verify."""

from keras_sbn import callbacks as callbacks
from keras_sbn import layers as layers
from keras_sbn import metrics as metrics
from keras_sbn import plots as plots
from keras_sbn import schedules as schedules
from keras_sbn import sharpness as sharpness
from keras_sbn.binarize import BinarizationReport as BinarizationReport
from keras_sbn.binarize import binarize as binarize
from keras_sbn.folding import fold as fold
from keras_sbn.sharpening import sharpen as sharpen
from keras_sbn.statistics import (
    reestimate_batch_normalization as reestimate_batch_normalization,
)
from keras_sbn.summary import summary as summary

__version__ = "0.1.0"
