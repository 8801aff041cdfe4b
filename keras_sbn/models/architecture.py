"""What the architectures share: their arguments, the input, the widths, and the end of the network."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from keras_sbn.layers import (
    BinaryBatchNormalization,
    SelfBinarizingActivation,
    SelfBinarizingConv2D,
    SelfBinarizingDense,
)
from keras_sbn.layers.base import positive_integer

#: The widths are multiples of it. At `alpha=1` they are those of the source.
_MULTIPLE = 8


@dataclass(frozen=True)
class Architecture:
    """The arguments that every function of `keras_sbn.models` takes, and what is done with them.

    Args:
        name: Name of the model.
        input_shape: `(height, width, channels)`.
        input_tensor: Keras tensor to take the image from, or `None`; its shape counts then.
        include_top: Whether the classifier is part of the network.
        pooling: Without the classifier: `None`, `"avg"` or `"max"`.
        classes: Number of classes.
        alpha: What multiplies the number of filters.
        classifier_activation: Activation of the classifier, or `None` for logits.
        weights: `None`, or the path of a file with weights.
        smallest: Smallest height and width that the network can take.

    Raises:
        ValueError: If an argument is out of range.
    """

    name: str
    input_shape: Any
    input_tensor: Any
    include_top: bool
    pooling: str | None
    classes: int
    alpha: float
    classifier_activation: Any
    weights: Any
    smallest: int

    def __post_init__(self) -> None:
        positive_integer(self.classes, "classes")
        if not isinstance(self.alpha, int | float) or not 0 < self.alpha < float("inf"):
            raise ValueError(f"Expected `alpha` to be a positive number. Received: alpha={self.alpha!r}")
        if self.pooling not in (None, "avg", "max"):
            raise ValueError(
                f"Expected `pooling` to be None, 'avg' or 'max'. Received: pooling={self.pooling!r}"
            )
        if self.weights is not None and not os.path.exists(self.weights):
            raise ValueError(
                "Expected `weights` to be None, or the path of a .weights.h5 or .keras file; there are "
                f"no pretrained weights to download. Received: weights={self.weights!r}"
            )
        shape = tuple(self.input_shape if self.input_tensor is None else self.input_tensor.shape[1:])
        if len(shape) != 3 or any(size is None for size in shape) or min(shape[:2]) < self.smallest:
            raise ValueError(
                "Expected `input_shape` to be (height, width, channels), height and width at least "
                f"{self.smallest} in {self.name!r}. Received: input_shape={shape}"
            )

    def image(self) -> Any:
        """The Keras tensor that the network begins with."""
        return keras.Input(tuple(self.input_shape)) if self.input_tensor is None else self.input_tensor

    def width(self, filters: int) -> int:
        """`filters` times `alpha`, as the nearest multiple of 8, and at least 8."""
        return max(_MULTIPLE, _MULTIPLE * int(filters * self.alpha / _MULTIPLE + 0.5))

    def model(self, image: Any, features: Any, top: Callable[[Any], Any]) -> Any:
        """Ends the network behind its features, and loads its weights, if there are some.

        Args:
            image: What `image` returned.
            features: The last map, `(batch, height, width, channels)`.
            top: From the features to the logits.
        """
        if self.include_top:
            outputs = top(features)
            if self.classifier_activation is not None:
                # float32 under every dtype policy: float16 ends where probabilities become small.
                activation = self.classifier_activation
                outputs = keras.layers.Activation(activation, dtype="float32", name="predictions")(
                    outputs
                )
        elif self.pooling == "avg":
            outputs = keras.layers.GlobalAveragePooling2D(name="average")(features)
        elif self.pooling == "max":
            outputs = keras.layers.GlobalMaxPooling2D(name="maximum")(features)
        else:
            outputs = features
        inputs = image
        if self.input_tensor is not None:
            sources = keras.utils.get_source_inputs(image)
            inputs = sources[0] if len(sources) == 1 else sources
        model = keras.Model(inputs, outputs, name=self.name)
        if self.weights is not None:
            model.load_weights(self.weights)
        return model

    def float_top(self, features: Any) -> Any:
        """Global average pooling and a float dense layer."""
        x = keras.layers.GlobalAveragePooling2D(name="average")(features)
        return keras.layers.Dense(self.classes, name="logits")(x)

    def binary_top(self, units: tuple[int, ...]) -> Callable[[Any], Any]:
        """Binary dense layers of `units`, and a last one of the classes, on the flattened features."""

        def top(features: Any) -> Any:
            x = keras.layers.Flatten(name="flatten")(features)
            for index, width in enumerate(units, 1):
                x = SelfBinarizingDense(self.width(width), name=f"dense_{index}")(x)
                x = sign(x, f"dense_{index}")
            x = SelfBinarizingDense(self.classes, name="classifier")(x)
            # No sign follows, so its scale need not be positive; momentum as in front of the signs.
            return keras.layers.BatchNormalization(momentum=0.9, name="logits")(x)

        return top


def sign(x: Any, name: str) -> Any:
    """Batch normalization and the self-binarizing activation; the fold makes one threshold of both."""
    return SelfBinarizingActivation(name=f"{name}_sign")(BinaryBatchNormalization(name=f"{name}_bn")(x))


def float_conv(x: Any, filters: int, window: int, strides: int, name: str) -> Any:
    """A float convolution and batch normalization."""
    x = keras.layers.Conv2D(
        filters,
        window,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return normalize(x, name)


def residual(x: Any, shortcut: Any, filters: int, strides: int, name: str, activation: Any = None) -> Any:
    """The sign of x, a binary 3 x 3 convolution, batch normalization, and the shortcut added to it."""
    x = SelfBinarizingConv2D(
        filters,
        3,
        strides=strides,
        padding="same",
        activation=activation,
        binarize_input=True,
        name=f"{name}_conv",
    )(x)
    return keras.layers.Add(name=f"{name}_sum")([normalize(x, name), shortcut])


def normalize(x: Any, name: str, **options: Any) -> Any:
    """Keras's batch normalization, for real values that are added: its gamma may take either sign."""
    return keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn", **options)(x)
