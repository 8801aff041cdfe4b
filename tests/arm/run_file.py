"""Runs a .tflite file on saved inputs; this is what runs under emulation, with LiteRT and NumPy alone.

python run_file.py model.tflite inputs.npy outputs.npz
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def packed(value, detail):
    """Binary values, 126 and 127 of scale 1 and zero point 127, as one bit each; others as they are."""
    return np.packbits(value == 127) if detail["quantization"] == (1.0, 127) else value


def main():
    """Runs one sample after another and writes every output of each."""
    path, inputs, out = sys.argv[1:]
    interpreter = Interpreter(path, num_threads=1)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    targets = interpreter.get_output_details()
    samples = np.load(inputs)
    rows = []
    for sample in samples:
        interpreter.set_tensor(source["index"], sample[np.newaxis])
        interpreter.invoke()
        rows.append([packed(interpreter.get_tensor(target["index"]), target) for target in targets])
    np.savez(out, *[np.stack(column) for column in zip(*rows, strict=True)])


if __name__ == "__main__":
    main()
