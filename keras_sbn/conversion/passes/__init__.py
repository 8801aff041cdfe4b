"""What is done with the graph before it is written, in the order of these lists."""

from collections.abc import Callable, Container

from keras_sbn.conversion.passes.conv1d_to_conv2d import Conv1DToConv2D
from keras_sbn.conversion.passes.crop_unused_outputs import crop_unused_outputs
from keras_sbn.conversion.passes.dense_to_pointwise_conv import DenseToPointwiseConv
from keras_sbn.conversion.passes.fold_batch_norm import FoldBatchNorm
from keras_sbn.conversion.passes.fuse_activations import fuse_activations
from keras_sbn.conversion.passes.fuse_thresholds import fuse_thresholds
from keras_sbn.conversion.passes.keep_float import keep_float
from keras_sbn.conversion.passes.sign_of_shared_affine import SignOfSharedAffine
from keras_sbn.conversion.passes.split_layers import SplitActivation, SplitMerge
from keras_sbn.conversion.targets.base import Target
from keras_sbn.folding.graph import Graph
from keras_sbn.folding.rules import Rule
from keras_sbn.folding.rules.reshapes import MoveElementwiseBeforeReshape

_RULES: tuple[Rule, ...] = (DenseToPointwiseConv(), Conv1DToConv2D(), MoveElementwiseBeforeReshape())


def rules(float_layers: Container[str] | None) -> tuple[Rule, ...]:
    """Rewrites of the folded model before the ranges of its values are looked at.

    Args:
        float_layers: Names of the layers that compute in float32, where others do in int8; `None` where
            all do.
    """
    of_layers = (SplitActivation(float_layers), FoldBatchNorm(float_layers))
    of_integers = () if float_layers is None else (SplitMerge(), SignOfSharedAffine())
    return (*_RULES, *of_layers, *of_integers)


#: Passes for a target, after which no node looks at its neighbours.
PASSES: tuple[Callable[[Graph, Target], None], ...] = (
    crop_unused_outputs,
    keep_float,
    fuse_activations,
    fuse_thresholds,
)
