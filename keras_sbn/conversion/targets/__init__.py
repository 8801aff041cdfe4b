"""The targets that `convert` knows. A new one is a file here and an entry in this list."""

from keras_sbn.conversion.targets.base import Settings as Settings
from keras_sbn.conversion.targets.base import Target as Target
from keras_sbn.conversion.targets.lce import LceTarget
from keras_sbn.conversion.targets.tflite import TfliteTarget

#: By the name that `convert` takes.
TARGETS: dict[str, type[Target]] = {target.name: target for target in (LceTarget, TfliteTarget)}
