"""The numbers that stand for padding and fused activations in operator options."""

from __future__ import annotations

PADDING = {"same": 0, "valid": 1}
ACTIVATION = {"none": 0, "relu": 1, "relu_n1_to_1": 2, "relu6": 3}
