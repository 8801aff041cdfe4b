"""The soft sign, its gradient, and the sharpness weight that turns it into sign.

One function carries the whole method: ``b(x; nu) = tanh(nu * x)`` (Lahoud et al., arXiv 1902.00730,
section 3.1). Every binary weight and activation is ``b`` of a real parameter; as the sharpness ``nu``
rises, ``b`` becomes ``sign``. This package says "nu is infinite" for a network that *is* binary, so
soft and hard are two values of one variable and not two kinds of layer.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import keras
from keras import ops

#: The sharpness at which the soft sign is ``sign(x)``, with ``sign(0) = sign(-0.0) = +1``.
HARD = math.inf

# What `normalize` adds to the mean square, so that a tensor of zeros has no infinite reciprocal.
_MEAN_SQUARE_EPSILON = 1e-12


def sign(x: Any) -> Any:
    """Returns -1 where ``x < 0`` and +1 elsewhere, in the dtype of `x`.

    Unlike ``keras.ops.sign``, zero of either sign gives +1, as in Larq and the Larq Compute Engine. So
    does NaN, as in LCE's kernels.

    Args:
        x: Tensor of any shape.

    Returns:
        Tensor of the same shape and dtype, of -1 and +1.

    Example:

    >>> keras_sbn.sharpness.sign(np.array([-2.0, -0.0, 0.5]))  # -1, 1, 1
    """
    one = ops.ones((), dtype=x.dtype)
    return ops.where(x < 0, -one, one)


def soft_sign(
    x: Any,
    sharpness: Any,
    max_gradient_sharpness: float | None = None,
    normalize: bool = False,
    gradient_scale: Any = None,
) -> Any:
    """Returns ``tanh(sharpness * x)``, or ``sign(x)`` where the sharpness is infinite.

    The derivative is ``nu (1 - tanh(nu x)^2)``. With `max_gradient_sharpness` it is taken at
    ``nu' = min(nu, max_gradient_sharpness)`` instead: a sharp tanh has a derivative of ``nu`` on about
    ``1 / nu`` of its inputs and of nothing on the rest, and it is this gradient, not the sharp forward
    value, that stops a network from learning.

    Args:
        x: Tensor of any shape.
        sharpness: Scalar tensor, variable or float, greater than 0; infinity gives ``sign``. No gradient
            flows to it.
        max_gradient_sharpness: Upper bound of the sharpness at which the gradient is taken. `None` is
            the exact gradient of the paper; it vanishes for an infinite sharpness.
        normalize: Whether `x` is divided by its root mean square first. Its gradient takes the division
            into account. The sign does not depend on it. In float16 small values have no square, so use
            it on float32.
        gradient_scale: Scalar tensor or variable that the gradient is multiplied by; `None` is 1. With 0
            `x` is frozen.

    Returns:
        Tensor of the shape and dtype of `x`, in [-1, 1].

    Example:

    >>> keras_sbn.sharpness.soft_sign(np.array([-0.5, 0.0, 0.5]), 2.0)  # -0.76, 0, 0.76
    >>> keras_sbn.sharpness.soft_sign(np.array([-0.5, 0.0, 0.5]), np.inf)  # -1, 1, 1
    """
    x = ops.convert_to_tensor(x)
    dtype = keras.backend.standardize_dtype(x.dtype)
    # A finite stand-in for infinity keeps inf * 0 = nan out of the branch that `where` throws away;
    # float16 has its own, smaller, largest number.
    largest = 65504.0 if dtype == "float16" else 1e30

    # With r = 1 / rms(x), s = nu' r, t = tanh(s x) and g the incoming gradient, let u = g (1 - t^2).
    # x appears in s as well, and dr/dx = -r^3 x / n, so the gradient is s (u - r^2 mean(u x) x);
    # without normalization r is 1 and constant, and it is s u. Scalars are multiplied first: on a
    # kernel of millions each pass over the elements counts. The scalars are arguments, because JAX
    # cannot differentiate a custom gradient that closes over a traced value of an outer function.
    @ops.custom_gradient
    def binarize(x: Any, sharpness: Any, *gradient_scales: Any) -> Any:
        is_hard = ops.isinf(sharpness)
        nu = ops.minimum(ops.abs(sharpness), largest)
        r = ops.rsqrt(ops.mean(x * x) + _MEAN_SQUARE_EPSILON) if normalize else ops.ones((), dtype)
        y = _hard_or_soft(is_hard, x, ops.cast(nu, dtype) * r)

        def grad(*args: Any, upstream: Any = None) -> Any:
            if upstream is None:
                (upstream,) = args
            if max_gradient_sharpness is None:
                gradient_nu = ops.where(is_hard, 0.0, nu)
            else:
                gradient_nu = ops.minimum(nu, max_gradient_sharpness)
            slope = ops.cast(gradient_nu, dtype) * r
            u = _tanh_gradient(ops.tanh(slope * x), upstream)
            if normalize:
                u = u - (r * r * ops.mean(u * x)) * x
            for gradient_scale in gradient_scales:
                slope = slope * ops.cast(gradient_scale, dtype)
            return slope * u, *(ops.zeros_like(scalar) for scalar in scalars)

        scalars = (sharpness, *gradient_scales)
        return y, grad

    given = (sharpness,) if gradient_scale is None else (sharpness, gradient_scale)
    return binarize(x, *(ops.cast(ops.convert_to_tensor(scalar), "float32") for scalar in given))


def _hard_or_soft(is_hard: Any, x: Any, slope: Any) -> Any:
    """Returns ``sign(x)`` or ``tanh(slope * x)``.

    TensorFlow on a CPU makes a pass over the elements for every operator, and a branch leaves out three
    of five. XLA, which Keras compiles with elsewhere, fuses them into one pass that a branch would
    split, and a GPU would have to wait for the condition.
    """
    if keras.backend.backend() == "tensorflow" and _tensorflow_has_only_cpus():
        import tensorflow as tf

        return tf.cond(is_hard, lambda: sign(x), lambda: ops.tanh(slope * x))
    return ops.where(is_hard, sign(x), ops.tanh(slope * x))


@cache
def _tensorflow_has_only_cpus() -> bool:
    import tensorflow as tf

    return all(device.device_type == "CPU" for device in tf.config.list_physical_devices())


def _tanh_gradient(t: Any, upstream: Any) -> Any:
    """Returns ``upstream * (1 - t^2)``: one pass over the elements where the backend has it in one."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.raw_ops.TanhGrad(y=t, dy=upstream)
    return upstream * (1 - t * t)
