"""Self-binarizing layers whose gradient is taken at a bound that moves with the sharpness.

`keras_sbn` takes the gradient of ``tanh(nu x)`` at ``min(nu, max_gradient_sharpness)``, with one bound
for the whole training. Here the bound is a function of nu, to see whether that is better.
"""

from __future__ import annotations

from typing import Any

from keras import ops
from straight_through import RecipeKernel

from keras_sbn import layers
from keras_sbn.sharpness import sign

#: The sharpness that counts for an infinite one.
_LARGEST = 1e4
_WIDEST = 5.0

#: By name, the sharpness at which the gradient is taken: from 1 to 5, and from 5 to 1.
BOUNDS = {
    "grows": lambda nu: ops.clip(ops.sqrt(nu), 1.0, _WIDEST),
    "shrinks": lambda nu: ops.clip(_WIDEST / ops.sqrt(nu), 1.0, _WIDEST),
}


def soft_sign(x: Any, sharpness: Any, bound: str) -> Any:
    """``tanh(sharpness x)``, or the sign, with the gradient of ``tanh(nu' x)`` at the bound's nu'."""

    @ops.custom_gradient
    def binarize(x: Any, sharpness: Any) -> Any:
        nu = ops.minimum(sharpness, _LARGEST)

        def grad(*args: Any, upstream: Any = None) -> Any:
            if upstream is None:
                (upstream,) = args
            taken = ops.minimum(nu, BOUNDS[bound](nu))
            t = ops.tanh(taken * x)
            return upstream * taken * (1 - t * t), ops.zeros_like(sharpness)

        return ops.where(ops.isinf(sharpness), sign(x), ops.tanh(nu * x)), grad

    return binarize(ops.convert_to_tensor(x), ops.convert_to_tensor(sharpness))


class MovingBoundActivation(layers.SelfBinarizingActivation):
    """An activation whose gradient's bound moves."""

    def __init__(self, bound: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bound = bound

    def binarize_activation(self, x: Any) -> Any:
        return soft_sign(x, self.activation_sharpness, self.bound)


class _MovingBoundKernel(RecipeKernel):
    """A kernel, divided by its root mean square, whose gradient's bound moves."""

    def __init__(self, *arguments: Any, bound: str, **kwargs: Any) -> None:
        super().__init__(*arguments, **kwargs)
        self.bound = bound

    def made_binary(self, normalized: Any) -> Any:
        return soft_sign(normalized, self.kernel_sharpness, self.bound)


class MovingBoundConv2D(_MovingBoundKernel, layers.SelfBinarizingConv2D):
    """A convolution whose kernel's gradient has a bound that moves."""


class MovingBoundDense(_MovingBoundKernel, layers.SelfBinarizingDense):
    """A dense layer whose kernel's gradient has a bound that moves."""
