"""The rewrite rules of the fold, one idea a file."""

from keras_sbn.folding.rules.absorb_affine_into_threshold import AbsorbAffineIntoThreshold
from keras_sbn.folding.rules.absorb_direction_into_kernel import AbsorbDirectionIntoKernel
from keras_sbn.folding.rules.activation_layers import TakeOutActivationLayer
from keras_sbn.folding.rules.base import Rule as Rule
from keras_sbn.folding.rules.batch_norm_to_affine import BatchNormToAffine
from keras_sbn.folding.rules.dense_to_conv2d import DenseToConv2D
from keras_sbn.folding.rules.folded_layers import ReadFoldedLayers
from keras_sbn.folding.rules.join_affine_maps import JoinAffineMaps
from keras_sbn.folding.rules.move_affine_after_average_pool import MoveAffineAfterAveragePool
from keras_sbn.folding.rules.move_threshold_before_max_pool import (
    MoveNegatedThresholdBeforeMaxPool,
    MoveThresholdBeforeMaxPool,
)
from keras_sbn.folding.rules.move_threshold_before_moves import (
    MoveThresholdBeforeConcatenate,
    MoveThresholdBeforePermute,
)
from keras_sbn.folding.rules.pool1d_to_pool2d import Pool1DToPool2D
from keras_sbn.folding.rules.rescaling import MoveProductBeforeRescaling, RescalingToAffine
from keras_sbn.folding.rules.reshapes import (
    LowerReshapes,
    MergeReshapes,
    MoveElementwiseBeforeReshape,
)
from keras_sbn.folding.rules.self_binarizing_layers import LowerSelfBinarizingLayers
from keras_sbn.folding.rules.training_only_layers import RemoveTrainingOnlyLayers

#: The rules `keras_sbn.fold` applies until none matches any more, in the order they are tried.
DEFAULT_RULES: tuple[Rule, ...] = (
    ReadFoldedLayers(),
    TakeOutActivationLayer(),
    RemoveTrainingOnlyLayers(),
    LowerSelfBinarizingLayers(),
    BatchNormToAffine(),
    RescalingToAffine(),
    LowerReshapes(),
    Pool1DToPool2D(),
    MoveProductBeforeRescaling(),
    MoveAffineAfterAveragePool(),
    JoinAffineMaps(),
    AbsorbAffineIntoThreshold(),
    MoveElementwiseBeforeReshape(),
    MergeReshapes(),
    MoveThresholdBeforeConcatenate(),
    MoveThresholdBeforePermute(),
    MoveThresholdBeforeMaxPool(),
    AbsorbDirectionIntoKernel(),
    DenseToConv2D(),
    MoveNegatedThresholdBeforeMaxPool(),
)
