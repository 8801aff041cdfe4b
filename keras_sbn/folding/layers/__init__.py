"""The layers of a folded model: integer weights, inference only, what conversion reads."""

from keras_sbn.folding.layers.affine import Affine as Affine
from keras_sbn.folding.layers.binary_conv2d import BinaryConv2D as BinaryConv2D
from keras_sbn.folding.layers.binary_conv2d_transpose import (
    BinaryConv2DTranspose as BinaryConv2DTranspose,
)
from keras_sbn.folding.layers.binary_conv3d import BinaryConv3D as BinaryConv3D
from keras_sbn.folding.layers.binary_dense import BinaryDense as BinaryDense
from keras_sbn.folding.layers.integer_conv2d import IntegerConv2D as IntegerConv2D
from keras_sbn.folding.layers.sign import Sign as Sign
from keras_sbn.folding.layers.threshold import Threshold as Threshold
