"""What every self-binarizing layer has: sharpness weights and a normalized, binarized kernel."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import constraints, initializers, ops, regularizers

from keras_sbn.sharpness import soft_sign

_RMS_EPSILON = 1e-12


class SelfBinarizingLayer(keras.layers.Layer):
    """Base of the self-binarizing layers (Lahoud et al., arXiv 1902.00730, section 3).

    A subclass says what it binarizes; this class owns the sharpness weights and the soft sign.

    Args:
        max_gradient_sharpness: Positive float or `None`. Upper bound of the sharpness at which the
            gradient of tanh is taken; `None` takes the exact gradient, as the paper does.
        **kwargs: Arguments of `keras.layers.Layer`.

    Attributes:
        kernel_sharpness: Scalar float32 weight, or `None` where the layer binarizes no kernel.
        activation_sharpness: Scalar float32 weight, or `None` where it binarizes no activation.

    Raises:
        ValueError: If `max_gradient_sharpness` is not positive.
    """

    def __init__(self, max_gradient_sharpness: float | None = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if max_gradient_sharpness is not None and not max_gradient_sharpness > 0:
            raise ValueError(
                "Expected `max_gradient_sharpness` to be a positive number, or None for the exact "
                f"gradient. Received: max_gradient_sharpness={max_gradient_sharpness}"
            )
        self.max_gradient_sharpness = max_gradient_sharpness
        self.kernel_sharpness: Any = None
        self.activation_sharpness: Any = None

    @property
    def sharpness_weights(self) -> list[Any]:
        """The sharpness weights the layer has: none before it is built, then one or two scalars."""
        weights = [self.kernel_sharpness, self.activation_sharpness]
        return [weight for weight in weights if weight is not None]

    @property
    def is_hard(self) -> bool:
        """Whether every sharpness of the layer is infinite, so that it computes with exact signs."""
        return all(np.isinf(ops.convert_to_numpy(w)) for w in self.sharpness_weights)

    def add_sharpness(self, name: str) -> Any:
        # A weight, because a Python float would be frozen into the traced step; float32 under every
        # dtype policy, because float16 ends at 65504.
        return self.add_weight(
            name=name,
            shape=(),
            initializer="ones",
            dtype="float32",
            trainable=False,
            autocast=False,
        )

    def binarize_activation(self, x: Any) -> Any:
        return soft_sign(x, self.activation_sharpness, self.max_gradient_sharpness)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_gradient_sharpness": self.max_gradient_sharpness}


class SelfBinarizingKernelLayer(SelfBinarizingLayer):
    """Base of the layers that have a self-binarizing kernel and, if wanted, binarize their input.

    The kernel in use is ``tanh(nu * w / rms(w))``: divided by its root mean square, one sharpness
    means the same in every layer, whatever the initializer and the fan-in. The division changes no
    sign, so it is gone in the finished network.
    """

    def __init__(
        self,
        use_bias: bool = False,
        binarize_input: bool = False,
        binarize_kernel: bool = True,
        normalize_kernel: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        max_gradient_sharpness: float | None = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            max_gradient_sharpness=max_gradient_sharpness,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        self.use_bias = use_bias
        self.binarize_input = binarize_input
        self.binarize_kernel = binarize_kernel
        self.normalize_kernel = normalize_kernel
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def add_kernel_and_bias(self, kernel_shape: tuple[int, ...], filters: int) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=kernel_shape,
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(filters,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        if self.binarize_kernel:
            self.kernel_sharpness = self.add_sharpness("kernel_sharpness")
        if self.binarize_input:
            self.activation_sharpness = self.add_sharpness("activation_sharpness")

    def effective_kernel(self) -> Any:
        """The kernel the layer computes with: ``tanh(nu * w / rms(w))``, ±1 once the layer is hard."""
        kernel = ops.convert_to_tensor(self.kernel)
        if not self.binarize_kernel:
            return kernel
        if self.normalize_kernel:
            kernel = kernel * ops.rsqrt(ops.mean(ops.square(kernel)) + _RMS_EPSILON)
        return soft_sign(kernel, self.kernel_sharpness, self.max_gradient_sharpness)

    def binary_kernel(self) -> np.ndarray:
        """Returns the signs of the kernel, with ``sign(0) = +1``.

        Returns:
            int8 NumPy array of -1 and +1, of the shape of the layer's `kernel`.

        Raises:
            ValueError: If the layer is not built, does not binarize its kernel, or holds a weight that
                is not finite.
        """
        if not self.built:
            raise ValueError(
                f"Expected layer {self.name!r} to be built before its kernel is read. Received a layer "
                "without weights: call it on an input, or call `build(input_shape)`."
            )
        if not self.binarize_kernel:
            raise ValueError(
                f"Expected layer {self.name!r} to have a binary kernel. Received: binarize_kernel=False"
            )
        kernel = ops.convert_to_numpy(self.kernel)
        if not np.isfinite(kernel).all():
            raise ValueError(
                f"Expected the kernel of layer {self.name!r} to be finite. Received "
                f"{np.count_nonzero(~np.isfinite(kernel))} NaN or infinite values of {kernel.size}: the "
                "training diverged; lower the learning rate or restore a checkpoint."
            )
        return np.where(kernel >= 0, 1, -1).astype(np.int8)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "use_bias": self.use_bias,
            "binarize_input": self.binarize_input,
            "binarize_kernel": self.binarize_kernel,
            "normalize_kernel": self.normalize_kernel,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
        }
