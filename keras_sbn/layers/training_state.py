"""Variables that belong to a training and not to the network: in the step, but in no file."""

from __future__ import annotations

from typing import Any

import keras


class _Variables:
    """A holder that Keras does not look into, so that its variables are not weights of the layer."""

    def __init__(self) -> None:
        self.by_name: dict[str, Any] = {}


class HasTrainingState(keras.layers.Layer):
    """Base of the layers that a training switches while it runs.

    Such a switch is a variable, because a Python value would be fixed in the traced step, and under JAX
    the trainer passes all `variables` through it. It is none of the layer's `weights`: `model.save`,
    `save_weights`, `get_weights` and what restores weights during a training (`EarlyStopping`,
    `BackupAndRestore`) do not see it. A layer that is loaded has its switches as a new one has.
    """

    def add_training_state(self, name: str, value: float) -> None:
        """Adds a scalar float32 variable; call it in `build`."""
        if not hasattr(self, "_training_state"):
            self._training_state = _Variables()
        with keras.name_scope(self.name, caller=self):
            # By an initializer, because JAX's trainer builds models in a stateless scope.
            self._training_state.by_name[name] = keras.Variable(
                keras.initializers.Constant(value),
                shape=(),
                dtype="float32",
                trainable=False,
                autocast=False,
                name=name,
            )

    def training_state(self, name: str) -> Any:
        """The variable of that name, or `None` where the layer has none (before it is built)."""
        holder = getattr(self, "_training_state", None)
        return None if holder is None else holder.by_name.get(name)

    def set_training_state(self, name: str, value: float) -> None:
        """Assigns a value to the variable of that name, if the layer has it."""
        variable = self.training_state(name)
        if variable is not None:
            variable.assign(value)

    @property
    def variables(self) -> list[Any]:
        """All state of the layer: its weights, and what belongs to the training alone."""
        holder = getattr(self, "_training_state", None)
        return [*super().variables, *([] if holder is None else holder.by_name.values())]
