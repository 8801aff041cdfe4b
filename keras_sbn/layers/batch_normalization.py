"""Batch normalization whose scale is positive by construction."""

from __future__ import annotations

import warnings
from typing import Any

import keras
from keras import constraints, initializers, ops, regularizers

from keras_sbn.layers.training_state import HasTrainingState

#: The training state that says whether statistics are accumulated: 1, or 0 where they move.
_ACCUMULATES = "accumulates_statistics"


@keras.saving.register_keras_serializable(package="keras_sbn")
class BinaryBatchNormalization(HasTrainingState):
    """Batch normalization with ``gamma = exp(log_gamma) > 0``, made to be folded into a threshold.

    Before a sign, ``gamma (a - mean) / sqrt(variance + epsilon) + beta >= 0`` is the comparison
    ``a >= threshold`` for every positive gamma. A gamma that cannot turn negative never turns the
    comparison around, so the fold moves it through max-pooling and padding without flipping kernels.
    Statistics are kept in float32 under every dtype policy.

    It is made to stand before a sign. Where none follows, before logits, take
    ``keras.layers.BatchNormalization(momentum=0.9)``, as the architectures do: it folds as well. What it
    gains and loses is in `docs/accuracy_appendix.md`.

    Args:
        axis: Integer, the axis that holds the features. Default -1.
        momentum: Momentum of the moving averages, in [0, 1). The default 0.9 follows a network whose
            activations change while it sharpens more closely than Keras's 0.99. See
            `accumulate_statistics` for the end of training.
        epsilon: Positive float added to the variance.
        center: Whether to add a learned beta.
        scale: Whether to multiply by a learned, positive gamma.
        beta_initializer: Initializer of beta.
        log_gamma_initializer: Initializer of ``log(gamma)``; zeros start gamma at 1.
        moving_mean_initializer: Initializer of the moving mean.
        moving_variance_initializer: Initializer of the moving variance.
        beta_regularizer: Regularizer of beta.
        log_gamma_regularizer: Regularizer of ``log(gamma)``.
        beta_constraint: Constraint of beta.
        log_gamma_constraint: Constraint of ``log(gamma)``.
        synchronized: Whether the statistics of a step are taken over all replicas of a
            `tf.distribute` strategy (TensorFlow backend only).
        **kwargs: Arguments of `keras.layers.Layer`, such as `name`, `trainable` and `dtype`.

    Call arguments:
        inputs: Tensor of rank 2 or more.
        training: Whether to use the statistics of the batch and update the moving ones. A layer with
            `trainable=False` always uses the moving ones, as in Keras.
        mask: Optional boolean tensor of the shape of the input without its feature axis; masked
            positions take no part in the statistics. Needs `axis=-1`.

    Output shape:
        The shape of the input.

    Raises:
        ValueError: If `momentum` or `epsilon` is out of range, or the feature axis has no known size.

    Source: Ioffe and Szegedy, arXiv 1502.03167; the threshold form in Lahoud et al., arXiv 1902.00730,
    section 3.3.

    Example:

    >>> layer = keras_sbn.layers.BinaryBatchNormalization()
    >>> layer(np.ones((2, 3)), training=False).shape
    (2, 3)
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.9,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        log_gamma_initializer: Any = "zeros",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        log_gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        log_gamma_constraint: Any = None,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= momentum < 1:
            raise ValueError(f"Expected `momentum` to be in [0, 1). Received: momentum={momentum}")
        if not epsilon > 0:
            raise ValueError(f"Expected `epsilon` to be positive. Received: epsilon={epsilon}")
        self.axis = int(axis)
        self.momentum = float(momentum)
        self.epsilon = float(epsilon)
        self.center = center
        self.scale = scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.log_gamma_initializer = initializers.get(log_gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.log_gamma_regularizer = regularizers.get(log_gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.log_gamma_constraint = constraints.get(log_gamma_constraint)
        self.synchronized = synchronized
        self.supports_masking = True
        self.beta: Any = None
        self.log_gamma: Any = None
        self.accumulated_batches: Any = None

    @property
    def gamma(self) -> Any:
        """The scale ``exp(log_gamma)``, positive, or `None` where the layer has none."""
        return None if self.log_gamma is None else ops.exp(ops.convert_to_tensor(self.log_gamma))

    @property
    def accumulates_statistics(self) -> bool:
        """Whether the moving statistics are the mean over batches. A file does not keep it."""
        state = self.training_state(_ACCUMULATES)
        return state is not None and float(ops.convert_to_numpy(state)) > 0

    def accumulate_statistics(self, accumulate: bool = True) -> None:
        """Makes the moving statistics the plain mean over all batches from now on, or moving again.

        Call it when the layers before no longer change: the mean of many batches is closer to the
        statistics of the data than a moving average, which is a mean of the last few.
        `keras_sbn.callbacks.Sharpen` does so at the end of training. A layer that accumulates goes on.
        How many batches it has accumulated is the weight `accumulated_batches`, and so part of a
        checkpoint; that it accumulates is not: a model that is loaded and trained has moving statistics
        until it is told otherwise.

        Args:
            accumulate: Whether to take the mean; `False` goes back to `momentum`.
        """
        self.set_training_state(_ACCUMULATES, 1.0 if accumulate else 0.0)
        if not accumulate:
            self.accumulated_batches.assign(0.0)

    def settle(self, settling: bool) -> None:
        """Deprecated name of `accumulate_statistics`, for one release."""
        warnings.warn(
            "`settle` is `accumulate_statistics` now, and goes in the next release.",
            DeprecationWarning,
            stacklevel=2,
        )
        self.accumulate_statistics(settling)

    def build(self, input_shape: Any) -> None:
        features = input_shape[self.axis]
        if features is None:
            raise ValueError(
                f"Expected axis {self.axis} of the input to have a known size. Received: "
                f"input_shape={tuple(input_shape)}"
            )
        shape = (features,)

        def add(name: str, initializer: Any, trainable: bool = True, **options: Any) -> Any:
            return self.add_weight(
                name=name,
                shape=shape,
                dtype="float32",
                initializer=initializer,
                trainable=trainable,
                autocast=False,
                **options,
            )

        if self.scale:
            self.log_gamma = add(
                "log_gamma",
                self.log_gamma_initializer,
                regularizer=self.log_gamma_regularizer,
                constraint=self.log_gamma_constraint,
            )
        if self.center:
            self.beta = add(
                "beta",
                self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
            )
        self.moving_mean = add("moving_mean", self.moving_mean_initializer, trainable=False)
        self.moving_variance = add("moving_variance", self.moving_variance_initializer, trainable=False)
        self.accumulated_batches = self.add_weight(
            name="accumulated_batches",
            shape=(),
            dtype="float32",
            initializer="zeros",
            trainable=False,
            autocast=False,
        )
        self.add_training_state(_ACCUMULATES, 0.0)
        self.input_spec = keras.layers.InputSpec(
            ndim=len(input_shape), axes={self.axis % len(input_shape): features}
        )
        self.built = True

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        x = ops.cast(inputs, "float32")
        if training and self.trainable:
            mean, variance = self._batch_moments(x, mask)
            # The mean of n + 1 values is n / (n + 1) of that of n, and 1 / (n + 1) of the last.
            # Files of version 0.1 count from -1.
            count = ops.maximum(ops.convert_to_tensor(self.accumulated_batches), 0.0)
            accumulates = ops.convert_to_tensor(self.training_state(_ACCUMULATES)) > 0
            keep = ops.where(accumulates, count / (count + 1), self.momentum)
            self.accumulated_batches.assign(ops.where(accumulates, count + 1, 0.0))
            self.moving_mean.assign(self.moving_mean * keep + mean * (1 - keep))
            self.moving_variance.assign(self.moving_variance * keep + variance * (1 - keep))
        else:
            mean = ops.convert_to_tensor(self.moving_mean)
            variance = ops.convert_to_tensor(self.moving_variance)
        outputs = ops.batch_normalization(
            x,
            mean=mean,
            variance=variance,
            axis=self.axis,
            offset=None if self.beta is None else ops.convert_to_tensor(self.beta),
            scale=self.gamma,
            epsilon=self.epsilon,
        )
        return ops.cast(outputs, self.compute_dtype)

    def _batch_moments(self, x: Any, mask: Any) -> tuple[Any, Any]:
        feature_axis = self.axis % len(x.shape)
        axes = [axis for axis in range(len(x.shape)) if axis != feature_axis]
        if mask is None:
            return ops.moments(x, axes=axes, synchronized=self.synchronized)
        weights = ops.broadcast_to(ops.expand_dims(ops.cast(mask, x.dtype), -1), ops.shape(x))
        total = ops.maximum(ops.sum(weights, axis=axes), keras.config.epsilon())
        mean = ops.sum(x * weights, axis=axes) / total
        variance = ops.sum(ops.square(x - mean) * weights, axis=axes) / total
        return mean, variance

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "log_gamma_initializer": initializers.serialize(self.log_gamma_initializer),
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
            "beta_regularizer": regularizers.serialize(self.beta_regularizer),
            "log_gamma_regularizer": regularizers.serialize(self.log_gamma_regularizer),
            "beta_constraint": constraints.serialize(self.beta_constraint),
            "log_gamma_constraint": constraints.serialize(self.log_gamma_constraint),
            "synchronized": self.synchronized,
        }
