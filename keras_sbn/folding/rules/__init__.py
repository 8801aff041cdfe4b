"""The rewrite rules of the fold, one idea a file."""

from keras_sbn.folding.rules.affine_after_average_pool import AffineAfterAveragePool
from keras_sbn.folding.rules.affine_maps import JoinAffineMaps
from keras_sbn.folding.rules.base import Rule as Rule
from keras_sbn.folding.rules.batch_normalization import LowerBatchNormalization
from keras_sbn.folding.rules.dense_to_convolution import DenseToConvolution
from keras_sbn.folding.rules.direction_into_kernel import DirectionIntoKernel
from keras_sbn.folding.rules.folded_layers import ReadFoldedLayers
from keras_sbn.folding.rules.one_dimensional_pools import LowerOneDimensionalPools
from keras_sbn.folding.rules.rescaling import LowerRescaling, ProductBeforeRescaling
from keras_sbn.folding.rules.reshapes import (
    ElementwiseBeforeReshape,
    LowerReshapes,
    MergeReshapes,
)
from keras_sbn.folding.rules.self_binarizing_layers import LowerSelfBinarizingLayers
from keras_sbn.folding.rules.sign_to_threshold import SignToThreshold
from keras_sbn.folding.rules.threshold_before_max_pool import (
    NegatedThresholdBeforeMaxPool,
    ThresholdBeforeMaxPool,
)
from keras_sbn.folding.rules.threshold_before_moves import (
    ThresholdBeforeConcatenate,
    ThresholdBeforePermute,
)
from keras_sbn.folding.rules.training_only_layers import RemoveTrainingOnlyLayers

#: The rules `keras_sbn.fold` applies until none matches any more, in the order they are tried.
DEFAULT_RULES: tuple[Rule, ...] = (
    ReadFoldedLayers(),
    RemoveTrainingOnlyLayers(),
    LowerSelfBinarizingLayers(),
    LowerBatchNormalization(),
    LowerRescaling(),
    LowerReshapes(),
    LowerOneDimensionalPools(),
    ProductBeforeRescaling(),
    AffineAfterAveragePool(),
    JoinAffineMaps(),
    SignToThreshold(),
    ElementwiseBeforeReshape(),
    MergeReshapes(),
    ThresholdBeforeConcatenate(),
    ThresholdBeforePermute(),
    ThresholdBeforeMaxPool(),
    DirectionIntoKernel(),
    DenseToConvolution(),
    NegatedThresholdBeforeMaxPool(),
)
