"""Keras 2 in this process, where it is there, or in a child process.

TensorFlow decides when it is first used which Keras `tf.keras` is, by TF_USE_LEGACY_KERAS. Where that
was set in time, `import keras` is Keras 3 and `tf.keras` Keras 2, side by side. Elsewhere a child process
with the variable set runs Larq's side, and what it reads or writes goes through a pipe.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The package's __init__ imports Keras 3, so an empty module stands for it.
_START = """
import sys
sys.path[:] = [path for path in sys.path if path]
import types
package = types.ModuleType("keras_sbn")
package.__path__ = [sys.argv[1]]
sys.modules["keras_sbn"] = package
from keras_sbn.larq.process import serve
serve()
"""
#: What a child's error may be here; any other is a RuntimeError.
_ERRORS = (ValueError, ImportError, OSError)


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
    return task(*arguments) if has_keras_2() else _in_child(task, arguments)


def _in_child(task: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    environment = {
        **os.environ,
        "TF_USE_LEGACY_KERAS": "1",
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"),
        # It computes next to nothing, and an accelerator may be taken whole by this process.
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    package = str(Path(__file__).parent.parent)
    message = pickle.dumps((sys.path, task.__module__, task.__name__, arguments), protocol=5)
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            [sys.executable, "-c", _START, package],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
        )
        answer, _ = child.communicate(message)
        log.seek(0)
        said = log.read().decode("utf-8", "replace").strip()[-2000:]
    if child.returncode != 0 or not answer:
        raise RuntimeError(
            f"Expected the process with Keras 2 to answer. Received: exit code {child.returncode}. It "
            f"said:\n{said}"
        )
    failed, result = pickle.loads(answer)
    if not failed:
        return result
    name, text = result
    kind = next((error for error in _ERRORS if error.__name__ == name), None)
    raise kind(text) if kind is not None else RuntimeError(f"{name}: {text}")


def serve() -> None:
    """Runs one task from standard input and answers on standard output."""
    import importlib

    # Libraries may print: their output goes to the log and not into the answer.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        path, module, name, arguments = pickle.load(sys.stdin.buffer)
        sys.path[:] = path
        try:
            answer = (False, getattr(importlib.import_module(module), name)(*arguments))
        # TensorFlow 2.16 says of a missing tf-keras that Keras cannot be imported.
        except ImportError as error:
            text = (
                f"Expected Larq and tf-keras to be installed (pip install 'keras-sbn[larq]'). Received: "
                f"{error}"
            )
            answer = (True, ("ImportError", text))
        except Exception as error:
            kind = next((k.__name__ for k in _ERRORS if isinstance(error, k)), type(error).__name__)
            answer = (True, (kind, str(error)))
        pickle.dump(answer, answers, protocol=5)
