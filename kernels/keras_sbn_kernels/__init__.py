"""One-bit kernels for the stock LiteRT runtime."""

from keras_sbn_kernels.library import KernelsError, instruction_sets
from keras_sbn_kernels.model import Model

__all__ = ["KernelsError", "Model", "instruction_sets"]
__version__ = "0.1.0"
