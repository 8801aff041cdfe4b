"""What the folded layers share: they only infer, in float32, from integer weights."""

from __future__ import annotations

from typing import Any

import keras


class FoldedLayer(keras.layers.Layer):
    """Base of the folded layers. They have no trainable weights and compute in float32.

    float32 holds every integer up to 2^24 exactly, so accumulators of ±1 products are exact under any
    dtype policy of the model they came from.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(trainable=False, **kwargs)

    def add_constant(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=dtype,
            initializer="ones",
            trainable=False,
            autocast=False,
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["trainable"], config["dtype"]
        return config
