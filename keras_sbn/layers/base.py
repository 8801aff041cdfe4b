"""What every self-binarizing layer has: sharpness weights and a normalized, binarized kernel."""

from __future__ import annotations

import math
from typing import Any, Literal

import keras
import numpy as np
from keras import activations, constraints, initializers, ops, regularizers

from keras_sbn.layers.training_state import HasTrainingState
from keras_sbn.sharpness import HARD, sign, soft_sign

#: The training state that the gradient of a kernel is multiplied by: 1, or 0 where it is frozen.
_GRADIENT_SCALE = "kernel_gradient_scale"


def is_integer(value: Any) -> bool:
    """Whether `value` is an int of Python or NumPy, and no bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def positive_integer(value: Any, name: str) -> int:
    """Returns `value` as an int, or raises a ValueError that names the argument."""
    if not is_integer(value) or value <= 0:
        raise ValueError(f"Expected `{name}` to be a positive integer. Received: {name}={value!r}")
    return int(value)


class SelfBinarizingLayer(HasTrainingState):
    """Base of the self-binarizing layers (Lahoud et al., arXiv 1902.00730, section 3).

    A subclass says what it binarizes; this class owns the sharpness weights and the soft sign.

    Args:
        max_gradient_sharpness: Positive float or `None`. Upper bound of the sharpness at which the
            gradient of tanh is taken; `None` takes the exact gradient, as the paper does.
        **kwargs: Arguments of `keras.layers.Layer`.

    Attributes:
        kernel_sharpness: Scalar float32 weight, or `None` where the layer binarizes no kernel.
        activation_sharpness: Scalar float32 weight, or `None` where it binarizes no activation.
        saved_sharpness: The smaller one when the layer was last written to a file; `None` before.
            `Sharpen` asks it, as Keras does not say what callbacks have saved.

    Raises:
        ValueError: If `max_gradient_sharpness` is not positive and finite.
    """

    def __init__(self, max_gradient_sharpness: float | None = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        bound = max_gradient_sharpness
        if bound is not None and not (
            isinstance(bound, int | float | np.number) and 0 < bound < math.inf
        ):
            raise ValueError(
                "Expected `max_gradient_sharpness` to be a positive number, or None for the exact "
                f"gradient. Received: max_gradient_sharpness={max_gradient_sharpness!r}"
            )
        self.max_gradient_sharpness = max_gradient_sharpness
        self.kernel_sharpness: Any = None
        self.activation_sharpness: Any = None
        self.saved_sharpness: float | None = None

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

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        values = (float(ops.convert_to_numpy(weight)) for weight in self.sharpness_weights)
        self.saved_sharpness = min(values, default=HARD)

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        # Version 0.1 wrote minus infinity for a kernel that was hard and frozen.
        for weight in self.sharpness_weights:
            if float(ops.convert_to_numpy(weight)) == -HARD:
                weight.assign(HARD)

    def as_floats(self, x: Any) -> Any:
        """Integers and booleans in the layer's dtype; Keras casts floats alone.

        In 8 bits, of an image as it is stored, sums would wrap around on JAX, and TensorFlow has none.
        """
        x = ops.convert_to_tensor(x)
        dtype = keras.backend.standardize_dtype(x.dtype)
        return x if keras.backend.is_float_dtype(dtype) else ops.cast(x, self.compute_dtype)

    def binarize_activation(self, x: Any) -> Any:
        return soft_sign(x, self.activation_sharpness, self.max_gradient_sharpness)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_gradient_sharpness": self.max_gradient_sharpness}


class SelfBinarizingKernelLayer(SelfBinarizingLayer):
    """Base of the layers that have a self-binarizing kernel and, if wanted, binarize their input.

    The kernel in use is ``tanh(nu * w / rms(w))``: divided by its root mean square, one sharpness
    means the same in every layer, whatever the initializer and the fan-in. The division changes no
    sign, so it is gone in the finished network.

    What the layer computes is ``activation(scale * product(input, kernel) + bias)``. A subclass defines
    `build` and `product`, and `kernel_magnitude` for its own order of the kernel's axes. The scale
    multiplies the product, not the kernel: the product of signs is then an exact integer.

    Args:
        kernels: `(initializer, regularizer, constraint)` of the latent kernels, under the prefix that
            the constructor's arguments have: `{"kernel": ...}` for `kernel_initializer`.
        activation: Function of the output, or its name; `None` is linear.
        use_bias: Whether to add a bias.
        bias_initializer: Initializer of the bias.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        bias_constraint: Constraint of the bias.
        binarize_input: Whether the layer binarizes its input as well.
        binarize_kernel: Whether the kernel binarizes. If not, the layer is an ordinary float layer.
        normalize_kernel: Whether the kernel is divided by its root mean square before tanh.
        kernel_scale: `None`, `"learned"` or `"mean"`: what multiplies each output channel.
        max_gradient_sharpness: See `SelfBinarizingLayer`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If `kernel_scale` is none of these, or given for a kernel that does not binarize.
    """

    def __init__(
        self,
        *,
        kernels: dict[str, tuple[Any, Any, Any]],
        activation: Any,
        use_bias: bool,
        bias_initializer: Any,
        bias_regularizer: Any,
        activity_regularizer: Any,
        bias_constraint: Any,
        binarize_input: bool = False,
        binarize_kernel: bool = True,
        normalize_kernel: bool = True,
        kernel_scale: Literal["learned", "mean"] | None = None,
        max_gradient_sharpness: float | None = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            max_gradient_sharpness=max_gradient_sharpness,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        if kernel_scale not in (None, "learned", "mean"):
            raise ValueError(
                "Expected `kernel_scale` to be None, 'learned' or 'mean'. Received: "
                f"kernel_scale={kernel_scale!r}"
            )
        if kernel_scale is not None and not binarize_kernel:
            raise ValueError(
                "Expected `kernel_scale` to be None where the kernel stays float: a float kernel has its "
                f"own scale. Received: kernel_scale={kernel_scale!r}, binarize_kernel=False"
            )
        self._kernel_prefixes = tuple(kernels)
        for prefix, (initializer, regularizer, constraint) in kernels.items():
            setattr(self, f"{prefix}_initializer", initializers.get(initializer))
            setattr(self, f"{prefix}_regularizer", regularizers.get(regularizer))
            setattr(self, f"{prefix}_constraint", constraints.get(constraint))
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.bias_constraint = constraints.get(bias_constraint)
        self.binarize_input = binarize_input
        self.binarize_kernel = binarize_kernel
        self.normalize_kernel = normalize_kernel
        self.kernel_scale = kernel_scale
        self.bias: Any = None
        self.log_kernel_scale: Any = None

    def add_kernel(self, shape: tuple[int, ...], name: str = "kernel", prefix: str = "kernel") -> Any:
        # No autocast: under mixed_float16 the root mean square of small weights would be zero.
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=getattr(self, f"{prefix}_initializer"),
            regularizer=getattr(self, f"{prefix}_regularizer"),
            constraint=getattr(self, f"{prefix}_constraint"),
            autocast=False,
        )

    def add_output_weights(self, channels: int) -> None:
        """Adds what is not a kernel: the bias and the scale of the output channels, the sharpness."""
        self._output_channels = channels
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(channels,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        if self.kernel_scale == "learned":
            self.log_kernel_scale = self.add_weight(
                name="log_kernel_scale",
                shape=(channels,),
                initializer="zeros",
                dtype="float32",
                autocast=False,
            )
        if self.binarize_kernel:
            self.kernel_sharpness = self.add_sharpness("kernel_sharpness")
            self.add_training_state(_GRADIENT_SCALE, 1.0)
        if self.binarize_input:
            self.activation_sharpness = self.add_sharpness("activation_sharpness")

    def call(self, inputs: Any) -> Any:
        inputs = self.as_floats(inputs)
        if self.binarize_input:
            inputs = self.binarize_activation(inputs)
        outputs = self.product(inputs)
        scale = self._scale()
        if scale is not None:
            outputs = outputs * self.over_channels(ops.cast(scale, outputs.dtype))
        if self.bias is not None:
            outputs = outputs + self.over_channels(self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def product(self, inputs: Any) -> Any:
        """The product of `inputs` and the effective kernel."""
        raise NotImplementedError("Expected a subclass to define `product`.")

    def over_channels(self, vector: Any) -> Any:
        """Reshapes a vector of one value an output channel so that it broadcasts over the output."""
        return vector

    def effective_kernel(self) -> Any:
        """The kernel the layer computes with: ``tanh(nu * w / rms(w))``, ±1 once the layer is hard.

        It is at least float32 under every dtype policy and comes without the scale of `kernel_scale`.
        """
        return self.soft_kernel(self.kernel)

    def soft_kernel(self, kernel: Any) -> Any:
        kernel = _at_least_float32(kernel)
        if not self.binarize_kernel:
            return kernel
        return soft_sign(
            kernel,
            self.kernel_sharpness,
            self.max_gradient_sharpness,
            normalize=self.normalize_kernel,
            gradient_scale=self.training_state(_GRADIENT_SCALE),
        )

    @property
    def kernel_is_frozen(self) -> bool:
        """Whether the binary kernel has no gradient. A file does not keep it."""
        scale = self.training_state(_GRADIENT_SCALE)
        return scale is not None and float(ops.convert_to_numpy(scale)) == 0

    def freeze_kernel(self, frozen: bool = True) -> None:
        """Takes the gradient of the binary kernel away, or gives it back; the others go on learning.

        Unlike `trainable`, it can change while the model trains, without being compiled again.
        `keras_sbn.callbacks.Sharpen` freezes hard kernels at the end of training.

        Args:
            frozen: Whether the kernel has no gradient.
        """
        self.set_training_state(_GRADIENT_SCALE, 0.0 if frozen else 1.0)

    @property
    def ignores_kernel_length(self) -> bool:
        """Whether the layer computes the same with a multiple of its latent kernel."""
        return self.binarize_kernel and self.normalize_kernel and self.kernel_scale != "mean"

    def kernel_magnitude(self) -> Any:
        """The mean of ``|w|`` over each output channel of the latent kernel."""
        return self.magnitude(self.kernel, axes=tuple(range(len(self.kernel.shape) - 1)))

    def magnitude(self, kernel: Any, axes: tuple[int, ...]) -> Any:
        return ops.mean(ops.abs(_at_least_float32(kernel)), axis=axes)

    def _scale(self) -> Any:
        if self.kernel_scale == "learned":
            return ops.exp(ops.convert_to_tensor(self.log_kernel_scale))
        if self.kernel_scale == "mean":
            return ops.maximum(self.kernel_magnitude(), keras.config.epsilon())
        return None

    def kernel_scale_values(self) -> np.ndarray:
        """Returns what multiplies the output channels, beside the ±1 of `binary_kernel()`.

        Returns:
            float32 NumPy array of one positive value an output channel: the learned ones, the mean
            magnitudes of the latent kernel, or ones where `kernel_scale=None`.

        Raises:
            ValueError: If the layer is not built.
        """
        self.check_built()
        scale = self._scale()
        if scale is None:
            return np.ones(self._output_channels, np.float32)
        return ops.convert_to_numpy(scale).astype(np.float32)

    def binary_kernel(self) -> np.ndarray:
        """Returns the signs of the kernel, with ``sign(0) = +1``, as the hard layer computes with them.

        Returns:
            int8 NumPy array of -1 and +1, of the shape of the layer's `kernel`.

        Raises:
            ValueError: If the layer is not built, does not binarize its kernel, or holds a weight that
                is not finite.
        """
        self.check_built()
        return self.signs(self.kernel)

    def signs(self, kernel: Any) -> np.ndarray:
        if not self.binarize_kernel:
            raise ValueError(
                f"Expected layer {self.name!r} to have a binary kernel. Received: binarize_kernel=False"
            )
        values = ops.convert_to_numpy(_at_least_float32(kernel))
        if not np.isfinite(values).all():
            raise ValueError(
                f"Expected the kernel of layer {self.name!r} to be finite. Received "
                f"{np.count_nonzero(~np.isfinite(values))} NaN or infinite values of {values.size}: the "
                "training diverged; lower the learning rate or restore a checkpoint."
            )
        # The backend decides, as in the hard layer: TensorFlow and JAX take a subnormal number for 0.
        return ops.convert_to_numpy(sign(_at_least_float32(kernel))).astype(np.int8)

    def check_built(self) -> None:
        if not self.built:
            raise ValueError(
                f"Expected layer {self.name!r} to be built before its kernel is read. Received a layer "
                "without weights: call it on an input, or call `build(input_shape)`."
            )

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "bias_constraint": constraints.serialize(self.bias_constraint),
            "binarize_input": self.binarize_input,
            "binarize_kernel": self.binarize_kernel,
            "normalize_kernel": self.normalize_kernel,
            "kernel_scale": self.kernel_scale,
        }
        for prefix in self._kernel_prefixes:
            for part, module in (
                ("initializer", initializers),
                ("regularizer", regularizers),
                ("constraint", constraints),
            ):
                name = f"{prefix}_{part}"
                config[name] = module.serialize(getattr(self, name))
        return config


def _at_least_float32(kernel: Any) -> Any:
    dtype = keras.backend.standardize_dtype(kernel.dtype)
    return ops.cast(ops.convert_to_tensor(kernel), keras.backend.result_type(dtype, "float32"))
