"""Weight decay of latent kernels, which no forward pass can see.

A kernel is divided by its root mean square before tanh, so the network is the same for ``c w`` as for
``w``, for every positive c. The length of w only says how far a step of the optimizer turns it. Let
``L(c w) = L(w)`` be the loss; its derivative by c at 1 is ``<w, dL/dw> = 0``: the gradient is
orthogonal to w. So every step of gradient descent makes w longer, ``|w + s|^2 = |w|^2 + |s|^2``, and
the same learning rate turns it less and less (van Laarhoven, arXiv 1706.05350); Adam's steps do nearly
the same. The learning rate falls twice, once as its schedule says and once unasked.

Weight decay, decoupled from the gradient as in AdamW (Loshchilov and Hutter, arXiv 1711.05101), takes
away what the steps add: with a decay ``d`` and a learning rate ``a``, w is multiplied by ``1 - a d`` a
step, and its length settles where a step turns it by about ``sqrt(2 a d)`` (Kosson et al., Rotational
Equilibrium, arXiv 2305.17212), for any optimizer and initial scale.

Because nothing sees the length, it need not be done at every step: `keras_sbn.callbacks.Sharpen`
multiplies by ``exp(-a d n)`` once for n steps, and the training step costs nothing more.
"""

from __future__ import annotations

import math
from typing import Any

from keras import ops

#: A peak learning rate of 0.01 then turns a kernel by about 0.04 of its length a step.
WEIGHT_DECAY = 0.1


def check_weight_decay(weight_decay: Any) -> float | None:
    """Returns `weight_decay` as a float, or `None`; raises a ValueError if it is out of range."""
    if weight_decay is None:
        return None
    is_number = isinstance(weight_decay, int | float) and not isinstance(weight_decay, bool)
    if not is_number or not 0 <= weight_decay < math.inf:
        raise ValueError(
            "Expected `weight_decay` to be a number of 0 or more, or None. Received: "
            f"weight_decay={weight_decay!r}"
        )
    return float(weight_decay)


def decay_kernels(kernels: list[Any], optimizer: Any, weight_decay: float, steps: int) -> None:
    """Multiplies latent kernels by ``exp(-weight_decay * learning_rate * steps)``, in place.

    Args:
        kernels: Weights.
        optimizer: The optimizer that trains them; its present learning rate is taken.
        weight_decay: The decay of a step with a learning rate of 1.
        steps: Number of batches to make up for.
    """
    rate = float(ops.convert_to_numpy(optimizer.learning_rate))
    updates = steps / (getattr(optimizer, "gradient_accumulation_steps", None) or 1)
    factor = math.exp(-weight_decay * rate * updates)
    for kernel in kernels:
        kernel.assign(ops.convert_to_tensor(kernel) * factor)
