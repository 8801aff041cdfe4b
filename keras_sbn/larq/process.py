"""Keras 2 in this process, where it is there, or in a child process.

TensorFlow decides when it is first used which Keras `tf.keras` is, by TF_USE_LEGACY_KERAS. Where that
was set in time, `import keras` is Keras 3 and `tf.keras` Keras 2, side by side. Elsewhere a child process
with the variable set runs Larq's side, and what it reads or writes goes through a pipe.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from keras_sbn.extras import remedy
from keras_sbn.larq.description import Call, Description, Input, Kernel, Layer
from keras_sbn.process import ChildProcess, Connection


def has_keras_2() -> bool:
    """Whether `tf.keras` is Keras 2 in this process, and TensorFlow is there already."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        return False
    return bool(tensorflow.keras.Model.__module__.startswith("tf_keras"))


def beside_keras_2(task: Callable[..., Any], *arguments: Any) -> Any:
    """Runs a function that needs Keras 2: here if that is possible, in a child process if not.

    Args:
        task: A function of a module of this package that imports no Keras 3.
        *arguments: What can be pickled.

    Returns:
        What the function returns.

    Raises:
        ImportError: If Larq or tf-keras is not installed.
        RuntimeError: If the child process fails otherwise.
    """
    if has_keras_2():
        return task(*arguments)
    with child_with_keras_2() as child:
        return run_in(child, task, *arguments)


def child_with_keras_2() -> ChildProcess:
    """Starts a process with Keras 2, which runs the tasks that `run_in` sends; use it in a `with`."""
    environment = {
        "TF_USE_LEGACY_KERAS": "1",
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"),
        # It computes next to nothing, and an accelerator may be taken whole by this process.
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    return ChildProcess(
        serve,
        "read and write models of Larq",
        environment=environment,
        answers=(Call, Description, Input, Kernel, Layer),
        search_path=sys.path,
    )


def run_in(child: ChildProcess, task: Callable[..., Any], *arguments: Any) -> Any:
    """Runs a function as `beside_keras_2` does, in a process that is there."""
    child.send((task.__module__, task.__name__, arguments))
    return child.receive()


def serve(connection: Connection) -> None:
    """Runs the tasks it is sent, until there are no more."""
    for task in connection.messages():
        connection.answer(_run, *task)


def _run(module: str, name: str, arguments: tuple[Any, ...]) -> Any:
    try:
        return getattr(importlib.import_module(module), name)(*arguments)
    # TensorFlow 2.16 says of a missing tf-keras that Keras cannot be imported.
    except ImportError as error:
        raise ImportError(
            f"Expected Larq and tf-keras to be installed ({remedy('larq')}). Received: {error}"
        ) from error
