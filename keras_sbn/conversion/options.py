"""The numbers that stand for padding and fused activations in operator options."""

from __future__ import annotations

from keras_sbn.tflite.options import ACTIVATION as ACTIVATION
from keras_sbn.tflite.options import PADDING as PADDING
