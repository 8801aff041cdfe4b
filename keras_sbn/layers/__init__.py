"""Self-binarizing Keras layers: trainable with any backend, binary when their sharpness is infinite."""

from keras_sbn.layers.activation import SelfBinarizingActivation as SelfBinarizingActivation
from keras_sbn.layers.batch_normalization import (
    BinaryBatchNormalization as BinaryBatchNormalization,
)
from keras_sbn.layers.conv2d import SelfBinarizingConv2D as SelfBinarizingConv2D
from keras_sbn.layers.dense import SelfBinarizingDense as SelfBinarizingDense
