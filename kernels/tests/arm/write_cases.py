"""Writes files, inputs and this machine's outputs for `run_cases.py` elsewhere: FOLDER [FILE...]."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from files import Conv, pack, random_conv
from test_model import chain
from test_operators import residual_file

from keras_sbn_kernels import Model


def write(folder: Path, name: str, content: bytes, inputs: list) -> None:
    outputs = Model(content).run(inputs)
    arrays = {f"in{i}": array for i, array in enumerate(inputs)}
    arrays |= {f"out{i}": array for i, array in enumerate(outputs)}
    np.savez(folder / f"{name}.npz", content=np.frombuffer(content, np.uint8), **arrays)


def main(folder: Path, files: list[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(150):
        conv = random_conv(rng)
        write(folder, f"conv{index:03d}", conv.content(), [pack(conv.x)])
    # More words than 16-bit sums count, all of them -1.
    conv = Conv(height=3, width=3, channels=32 * 4099, filters=40, window=(1, 1), output="float32")
    conv.x[:], conv.kernel[:] = 1, -1
    write(folder, "words", conv.content(), [pack(conv.x)])
    first, _, content = chain()
    write(folder, "chain", content, [first.x.astype(np.float32)])
    conv = Conv(height=6, width=6, channels=64, filters=45, output="float32", pad_value=0)
    scale, shift = rng.normal(0, 1, (2, 45)).astype(np.float32)
    residual = rng.normal(0, 30, (1, 6, 6, 45)).astype(np.float32)
    write(folder, "residual", residual_file(conv, scale, shift, relu=True), [pack(conv.x), residual])
    for path in files:
        content = path.read_bytes()
        write(folder, path.name, content, [samples(rng, entry) for entry in Model(content).inputs])


def samples(rng: np.random.Generator, entry) -> np.ndarray:
    """Values for an input: multiples of 1/128, whose sums are exact in float32, or any integers."""
    if entry.dtype == np.float32:
        return (rng.integers(0, 256, entry.shape) / 128 - 1).astype(np.float32)
    limits = np.iinfo(entry.dtype)
    return rng.integers(limits.min, limits.max, entry.shape, endpoint=True, dtype=entry.dtype)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
