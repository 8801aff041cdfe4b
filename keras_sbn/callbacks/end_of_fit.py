"""A function that runs after the callbacks of a training, whatever their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def at_end_of_fit(callback: Any, function: Callable[[], None]) -> None:
    """Calls `function` when `model.fit` ends, after `on_train_end` of the other callbacks.

    `fit` puts a `keras.callbacks.History` behind all callbacks and in `model.history`: its `on_train_end`
    comes last. A training without one (a loop that calls callbacks itself), or with one that the user put
    in the list, does not call `function`, or calls it where that one stands.

    Args:
        callback: A callback of the training, in its `on_train_begin`.
        function: What to call.
    """
    history = getattr(callback.model, "history", None)
    # Its parameters are the same object in all callbacks of one training, so this is no former history.
    if not isinstance(history, keras.callbacks.History) or history.params is not callback.params:
        return

    def on_train_end(logs: dict[str, Any] | None = None) -> None:
        del vars(history)["on_train_end"]
        history.on_train_end(logs)
        function()

    vars(history)["on_train_end"] = on_train_end
