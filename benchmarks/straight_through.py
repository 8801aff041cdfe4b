"""The straight-through estimator under Keras 3: the reference that self-binarizing networks have to beat.

Kernel and activations are ``sign(x)``; the gradient goes through sign as if it were another function
(Bengio et al., arXiv 1308.3432; Hubara et al., arXiv 1602.02830). Larq has the same quantizers, but runs
under Keras 2 only; `tests/benchmarks/test_straight_through.py` holds the two against each other.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_sbn import layers
from keras_sbn.convolution import convolve
from keras_sbn.layers.base import SelfBinarizingKernelLayer
from keras_sbn.sharpness import sign


def _ste(x: Any) -> Any:
    return ops.cast(ops.abs(x) <= 1, x.dtype)


def _approx(x: Any) -> Any:
    magnitude = ops.abs(x)
    return ops.where(magnitude <= 1, 2 - 2 * magnitude, ops.zeros_like(x))


def _swish(x: Any) -> Any:
    # b (2 - b x tanh(b x / 2)) / (1 + cosh(b x)) with b = 5; beyond |b x| = 60 it is below 1e-23.
    z = ops.clip(5.0 * x, -60.0, 60.0)
    return 5.0 * (2 - z * ops.tanh(z / 2)) / (1 + ops.cosh(z))


#: What stands in for the derivative of sign: 1 on [-1, 1]; the triangle 2 - 2|x| of Bi-Real Net (arXiv
#: 1808.00278); the derivative of SignSwish (Darabi et al., arXiv 1812.11800) with beta 5.
DERIVATIVES = {"ste": _ste, "approx": _approx, "swish": _swish}


def straight_through(x: Any, derivative: str) -> Any:
    """Returns ``sign(x)`` with one of the `DERIVATIVES` in place of its own."""

    @ops.custom_gradient
    def binarize(x: Any) -> Any:
        def grad(*args: Any, upstream: Any = None) -> Any:
            if upstream is None:
                (upstream,) = args
            return upstream * DERIVATIVES[derivative](x)

        return sign(x), grad

    return binarize(ops.convert_to_tensor(x))


@keras.saving.register_keras_serializable(package="keras_sbn_benchmarks")
class WeightClip(keras.constraints.Constraint):
    """Keeps latent weights in [-1, 1], as BinaryConnect does."""

    def __call__(self, w: Any) -> Any:
        return ops.clip(w, -1, 1)


class StraightThroughActivation(keras.layers.Layer):
    """``sign(x)`` with a straight-through gradient."""

    def __init__(self, derivative: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.derivative = derivative

    def call(self, inputs: Any) -> Any:
        return straight_through(inputs, self.derivative)


class StraightThroughConv2D(keras.layers.Layer):
    """ "same" convolution with a kernel of signs; ``ste`` for the kernel, as is usual with Larq."""

    def __init__(self, filters: int, size: int, strides: int, pad_value: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.size, self.strides, self.pad_value = filters, size, strides, pad_value

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.size, self.size, input_shape[-1], self.filters),
            initializer="glorot_uniform",
            constraint=WeightClip(),
        )

    def latent_kernel(self) -> Any:
        """What it takes the signs of."""
        return self.kernel

    def call(self, inputs: Any) -> Any:
        return convolve(
            inputs,
            straight_through(self.latent_kernel(), "ste"),
            strides=(self.strides, self.strides),
            padding="same",
            pad_value=self.pad_value,
            dilation_rate=(1, 1),
            data_format="channels_last",
        )


class StraightThroughDense(keras.layers.Layer):
    """Dense layer with a kernel of signs."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.units),
            initializer="glorot_uniform",
            constraint=WeightClip(),
        )

    def latent_kernel(self) -> Any:
        """What it takes the signs of."""
        return self.kernel

    def call(self, inputs: Any) -> Any:
        return ops.matmul(inputs, straight_through(self.latent_kernel(), "ste"))


def without_mean(kernel: Any) -> Any:
    """The kernel without the mean of each output channel."""
    kernel = ops.convert_to_tensor(kernel)
    return kernel - ops.mean(kernel, axis=tuple(range(len(kernel.shape) - 1)), keepdims=True)


class _CenteredKernel:
    """A kernel without the mean of each output channel."""

    def latent_kernel(self: Any) -> Any:
        return without_mean(self.kernel)


class CenteredStraightThroughConv2D(_CenteredKernel, StraightThroughConv2D):
    """Convolution with a centered kernel."""


class CenteredStraightThroughDense(_CenteredKernel, StraightThroughDense):
    """Dense layer with a centered kernel."""


# Straight-through with what this package does beside its soft sign: kernels divided by their root mean
# square, which decay and are frozen at their mean, all by `keras_sbn.callbacks.Sharpen`. The sharpness
# that these layers have is never read: forward is sign from the first step on.


class RecipeActivation(layers.SelfBinarizingActivation):
    """``sign(x)`` with a straight-through gradient."""

    def __init__(self, derivative: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.derivative = derivative

    def binarize_activation(self, x: Any) -> Any:
        return straight_through(x, self.derivative)


class RecipeKernel(SelfBinarizingKernelLayer):
    """A kernel divided by its root mean square, and then made binary: by ``ste`` into signs."""

    def made_binary(self, normalized: Any) -> Any:
        """Signs, or soft ones, of a kernel whose root mean square is 1."""
        return straight_through(normalized, "ste")

    def soft_kernel(self, kernel: Any) -> Any:
        kernel = ops.convert_to_tensor(kernel)
        root_mean_square = ops.sqrt(ops.mean(kernel * kernel) + 1e-12)
        signs = self.made_binary(kernel / root_mean_square)
        learns = ops.convert_to_tensor(self.training_state("kernel_gradient_scale"))
        return learns * signs + (1 - learns) * ops.stop_gradient(signs)


class RecipeConv2D(RecipeKernel, layers.SelfBinarizingConv2D):
    """Convolution with a kernel of signs."""


class RecipeDense(RecipeKernel, layers.SelfBinarizingDense):
    """Dense layer with a kernel of signs."""


class _CenteredSoftKernel(SelfBinarizingKernelLayer):
    """The soft kernel of this package, of a latent one without the mean of each output channel."""

    def soft_kernel(self, kernel: Any) -> Any:
        return super().soft_kernel(without_mean(kernel))


class CenteredConv2D(_CenteredSoftKernel, layers.SelfBinarizingConv2D):
    """Self-binarizing convolution with a centered kernel."""


class CenteredDense(_CenteredSoftKernel, layers.SelfBinarizingDense):
    """Self-binarizing dense layer with a centered kernel."""
