"""Our conversion of BinaryNet in a process of its own, for its time and peak memory.

python benchmarks/our_conversion.py lce binary_net.keras out.tflite
"""

from __future__ import annotations

import json
import resource
import sys
import time

import keras

import keras_sbn


def main() -> None:
    """Loads a hard model, converts and writes it, and prints the figures as JSON."""
    target, source, path = sys.argv[1:4]
    model = keras.models.load_model(source)
    started = time.perf_counter()
    converted = keras_sbn.convert(model, target=target)
    seconds = time.perf_counter() - started
    converted.save(path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"file_bytes": len(converted.content), "seconds": seconds, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
