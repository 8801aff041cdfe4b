"""Which classes of layers and functions only move or pick values, and which do nothing at inference."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import keras
from keras import ops

from keras_sbn.folding.computation import operation_class

if TYPE_CHECKING:
    from keras_sbn.folding.ops import KerasCall


def _always(call: KerasCall) -> bool:
    return True


def _nearest(call: KerasCall) -> bool:
    return bool(call.operation.interpolation == "nearest")


def _of_its_inputs_alone(call: KerasCall) -> bool:
    return call.takes_tensors_alone


def _without_initial(call: KerasCall) -> bool:
    return call.operation.initial is None


_X = keras.KerasTensor((2, 1))

#: Layers whose outputs are some of their inputs in another place, whatever the order of the axes; and the
#: condition on the call under which they are.
SELECTING: dict[type, Callable[[KerasCall], bool]] = {
    keras.layers.MaxPooling1D: _always,
    keras.layers.MaxPooling2D: _always,
    keras.layers.MaxPooling3D: _always,
    keras.layers.GlobalMaxPooling1D: _always,
    keras.layers.GlobalMaxPooling2D: _always,
    keras.layers.GlobalMaxPooling3D: _always,
    keras.layers.Concatenate: _always,
    keras.layers.Maximum: _always,
    keras.layers.Minimum: _always,
    keras.layers.Permute: _always,
    keras.layers.Cropping1D: _always,
    keras.layers.Cropping2D: _always,
    keras.layers.Cropping3D: _always,
    keras.layers.RepeatVector: _always,
    keras.layers.UpSampling1D: _always,
    keras.layers.UpSampling2D: _nearest,
    keras.layers.UpSampling3D: _always,
}
#: ``x[:, ::2]``.
GET_ITEM = operation_class(lambda x: x[0], _X)
#: The same of functions of `keras.ops`.
SELECTING |= {
    GET_ITEM: _always,
    operation_class(ops.amax, _X): _always,
    operation_class(ops.amin, _X): _always,
    operation_class(ops.concatenate, [_X, _X]): _of_its_inputs_alone,
    operation_class(ops.expand_dims, _X, 1): _always,
    operation_class(ops.flip, _X): _always,
    operation_class(ops.max, _X): _without_initial,
    operation_class(ops.maximum, _X, _X): _of_its_inputs_alone,
    operation_class(ops.min, _X): _without_initial,
    operation_class(ops.minimum, _X, _X): _of_its_inputs_alone,
    operation_class(ops.moveaxis, _X, 0, 1): _always,
    operation_class(ops.repeat, _X, 2): _always,
    operation_class(ops.reshape, _X, (2,)): _always,
    operation_class(ops.roll, _X, 1): _always,
    operation_class(ops.split, _X, 2): _always,
    operation_class(ops.squeeze, _X, 1): _always,
    operation_class(ops.stack, [_X, _X]): _of_its_inputs_alone,
    operation_class(ops.swapaxes, _X, 0, 1): _always,
    operation_class(ops.tile, _X, 2): _always,
    operation_class(ops.transpose, _X): _always,
}
#: Layers that do nothing at inference.
TRAINING_ONLY = frozenset(
    {
        keras.layers.ActivityRegularization,
        keras.layers.AlphaDropout,
        keras.layers.Dropout,
        keras.layers.GaussianDropout,
        keras.layers.GaussianNoise,
        keras.layers.Identity,
        keras.layers.SpatialDropout1D,
        keras.layers.SpatialDropout2D,
        keras.layers.SpatialDropout3D,
    }
)


#: Layers that change images during training; which of them there are depends on the version of Keras.
AUGMENTATION = frozenset(
    {
        getattr(keras.layers, name)
        for name in (
            "AugMix",
            "CutMix",
            "MixUp",
            "RandAugment",
            "RandomBrightness",
            "RandomColorDegeneration",
            "RandomColorJitter",
            "RandomContrast",
            "RandomElasticTransform",
            "RandomErasing",
            "RandomFlip",
            "RandomGaussianBlur",
            "RandomGrayscale",
            "RandomHue",
            "RandomInvert",
            "RandomPerspective",
            "RandomPosterization",
            "RandomRotation",
            "RandomSaturation",
            "RandomSharpness",
            "RandomShear",
            "RandomTranslation",
            "RandomZoom",
        )
        if hasattr(keras.layers, name)
    }
)

#: Layers that give all of their values in another shape.
RESHAPING = frozenset({keras.layers.Flatten, keras.layers.Reshape})
#: What computes the same on integers as on real numbers of their values: nothing is added up that could
#: wrap around.
_OF_INTEGERS = frozenset(
    {
        # A number beside the integers is one of their type: ``maximum(x, -1)`` of uint8 is 255.
        *(kind for kind, condition in SELECTING.items() if condition is not _of_its_inputs_alone),
        *TRAINING_ONLY,
        *AUGMENTATION,
        *RESHAPING,
        keras.layers.ZeroPadding1D,
        keras.layers.ZeroPadding2D,
        keras.layers.ZeroPadding3D,
    }
)


#: What makes floats of integers before it computes, or gives floats where one of several inputs is one.
#: Keras's other layers compute in the type of the input, JAX's average pools too, or round their outputs.
_TO_FLOATS = frozenset(
    {
        keras.layers.Add,
        keras.layers.BatchNormalization,
        keras.layers.Conv1D,
        keras.layers.Conv2D,
        keras.layers.Dense,
        keras.layers.GlobalAveragePooling1D,
        keras.layers.GlobalAveragePooling2D,
        keras.layers.GlobalAveragePooling3D,
        keras.layers.Multiply,
        keras.layers.Normalization,
        keras.layers.Rescaling,
        keras.layers.Subtract,
        operation_class(ops.add, _X, _X),
        operation_class(ops.cast, _X, "float16"),
        operation_class(ops.divide, _X, _X),
        operation_class(ops.mean, _X),
        operation_class(ops.multiply, _X, _X),
        operation_class(ops.subtract, _X, _X),
        operation_class(ops.true_divide, _X, _X),
    }
)


def wraps_around(kind: type, dtype: str, input_dtypes: Iterable[str] = ()) -> bool:
    """Whether a layer or function of a class may compute in integers, modulo 2^n.

    Args:
        kind: The class.
        dtype: The type of what it gives.
        input_dtypes: Those of what it gets.
    """
    if kind in _OF_INTEGERS or kind.__module__.startswith("keras_sbn."):
        return False
    if all(map(keras.backend.is_float_dtype, input_dtypes)):
        return False  # What makes integers of floats, as argmax does, adds none up.
    return not keras.backend.is_float_dtype(dtype) or kind not in _TO_FLOATS
