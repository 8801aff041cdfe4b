"""Which extra of the package brings what is missing, on this Python and machine.

The limits are those of `all` in pyproject.toml.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from importlib import metadata

#: Backends of Keras that the package trains on, in the order in which one is chosen, and their modules.
BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}

#: What runs files for the Larq Compute Engine on every Python.
KERNELS_REMEDY = "keras-sbn-kernels runs its files: pip install ./kernels, in a clone of keras_sbn"

#: Why an extra cannot be had here, by its name.
_LIMITS = {
    "lce": "larq-compute-engine has wheels for Python 3.10 to 3.12 on x86-64 alone",
    "larq": "Larq needs NumPy < 2, which has wheels up to Python 3.12",
    "tensorflow": "TensorFlow 2.21 has wheels for Python 3.10 to 3.13",
}
_NEWEST = {"lce": (3, 12), "larq": (3, 12), "tensorflow": (3, 13)}


def installed(module: str) -> bool:
    """Whether a module can be imported; imports nothing."""
    return module in sys.modules or importlib.util.find_spec(module) is not None


def installed_backends() -> list[str]:
    """Names of the backends of Keras that are installed."""
    return [name for name, module in BACKENDS.items() if installed(module)]


def available(extra: str) -> bool:
    """Whether pip finds what the extra needs, for this Python and machine."""
    if sys.version_info[:2] > _NEWEST.get(extra, (99, 0)):
        return False
    return extra != "lce" or platform.machine().lower() in ("x86_64", "amd64")


def remedy(extra: str, instead: str = "") -> str:
    """What to do for want of an extra: the command that installs it, or why there is none here.

    Args:
        extra: Name of the extra.
        instead: What to do where the extra cannot be had.
    """
    if available(extra):
        return f"pip install 'keras-sbn[{extra}]'"
    here = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {platform.machine()}"
    return f"{_LIMITS[extra]}, and this is {here}" + (f"; {instead}" if instead else "")


def why_not_run(target: str) -> str | None:
    """Why a file of a target cannot be run here, and the remedy; `None` where it can.

    Args:
        target: `"lce"`, or a target whose files have stock operators.
    """
    from keras_sbn.tflite.interpreter import TFLITE_RUNTIMES
    from keras_sbn.tflite.kernels import has_kernels

    if target != "lce":
        if any(map(installed, TFLITE_RUNTIMES)):
            return None
        return f"none of {', '.join(TFLITE_RUNTIMES)} is installed; {remedy('convert')}"
    return None if has_kernels() else why_no_lce()


def why_no_lce() -> str | None:
    """Why the interpreter of the Larq Compute Engine does not run here; `None` where it does."""
    if not installed("larq_compute_engine"):
        return f"larq-compute-engine is not installed; {remedy('lce', KERNELS_REMEDY)}"
    numpy = metadata.version("numpy")
    if int(numpy.split(".")[0]) >= 2:
        return f"larq-compute-engine needs NumPy < 2, and this is {numpy}; pip install 'numpy<2'"
    return None
