"""Self-binarizing Keras layers: trainable with any backend, binary when their sharpness is infinite."""

from keras_sbn.layers.activation import SelfBinarizingActivation as SelfBinarizingActivation
from keras_sbn.layers.batch_normalization import (
    BinaryBatchNormalization as BinaryBatchNormalization,
)
from keras_sbn.layers.conv1d import SelfBinarizingConv1D as SelfBinarizingConv1D
from keras_sbn.layers.conv2d import SelfBinarizingConv2D as SelfBinarizingConv2D
from keras_sbn.layers.conv2d_transpose import (
    SelfBinarizingConv2DTranspose as SelfBinarizingConv2DTranspose,
)
from keras_sbn.layers.conv3d import SelfBinarizingConv3D as SelfBinarizingConv3D
from keras_sbn.layers.dense import SelfBinarizingDense as SelfBinarizingDense
from keras_sbn.layers.depthwise_conv2d import (
    SelfBinarizingDepthwiseConv2D as SelfBinarizingDepthwiseConv2D,
)
from keras_sbn.layers.separable_conv2d import (
    SelfBinarizingSeparableConv2D as SelfBinarizingSeparableConv2D,
)
