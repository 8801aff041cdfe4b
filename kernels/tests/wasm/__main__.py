"""The kernels in WebAssembly: the values of this machine's portable C.

    python tests/wasm

ziglang compiles them for WASI with 128-bit registers; node, or the PyPI package wasmtime, runs them.
"""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from files import Conv, File, pack, random_conv
from test_operators import residual_file

import hatch_build
from keras_sbn_kernels.library import Plan

_HERE = Path(__file__).parent
_KERNELS = _HERE.parents[1]
#: node, and what has it run a program of WASI.
_NODE = """
const { WASI } = require("node:wasi"), fs = require("node:fs");
const wasi = new WASI({ version: "preview1", args: process.argv.slice(1), returnOnExit: true });
const module_ = new WebAssembly.Module(fs.readFileSync(process.argv[1]));
process.exitCode = wasi.start(new WebAssembly.Instance(module_, wasi.getImportObject()));
"""


def compile_program(out: Path) -> None:
    """Compiles the kernels and run_nodes.c."""
    sources = [str(path) for path in (*sorted((_KERNELS / "src").glob("*.c")), _HERE / "run_nodes.c")]
    flags = [flag for flag in hatch_build.FLAGS if flag not in ("-shared", "-fvisibility=hidden")]
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-msimd128"]
    subprocess.run([*zig, *flags, "-Wall", "-Werror", *sources, "-o", str(out)], check=True)


def run_program(program: Path, instructions: str, cases: bytes) -> bytes:
    """What the program writes; node runs it, or wasmtime."""
    if node := shutil.which("node"):
        command = [node, "--no-warnings", "-e", _NODE, str(program), instructions]
        return subprocess.run(command, input=cases, stdout=subprocess.PIPE, check=True).stdout
    import wasmtime

    given, written = program.with_suffix(".in"), program.with_suffix(".out")
    given.write_bytes(cases)
    engine = wasmtime.Engine()
    linker, store, config = wasmtime.Linker(engine), wasmtime.Store(engine), wasmtime.WasiConfig()
    config.argv = [program.name, instructions]
    config.stdin_file, config.stdout_file = str(given), str(written)
    config.inherit_stderr()
    store.set_wasi(config)
    linker.define_wasi()
    made = linker.instantiate(store, wasmtime.Module.from_file(engine, str(program)))
    made.exports(store)["_start"](store)
    return written.read_bytes()


def cases() -> list[tuple[bytes, int, list[np.ndarray], list[np.ndarray]]]:
    """Files, batches and inputs of nodes, and the shapes and types of their outputs."""
    rng = np.random.default_rng(0)
    found = []
    for conv in (*(random_conv(rng) for _ in range(150)), Conv(channels=32 * 40, filters=40)):
        found.append((conv.content(), conv.batch, [pack(conv.x)], [conv.expected()]))
    for filters in (3, 33, 64):
        conv = Conv(height=6, width=6, channels=64, filters=filters, output="float32", pad_value=0)
        scale, shift = rng.normal(0, 1, (2, filters)).astype(np.float32)
        residual = rng.normal(0, 30, (1, 6, 6, filters)).astype(np.float32)
        content = residual_file(conv, scale, shift, relu=True)
        found.append((content, 1, [pack(conv.x), residual], [residual, pack(residual)]))
    for dtype, scale in ((np.float32, None), (np.int8, (0.5, 3))):
        x = rng.normal(0, 20, (1, 5, 3, 70)).astype(dtype)
        x[..., 0] = 0
        file = File()
        i, o = file.tensor(x.shape, dtype, scale), file.tensor(pack(x).shape, "int32")
        file.operator("LceQuantize", [i], [o])
        found.append((file.write([i], [o]), 1, [x], [pack(x)]))
    return found


def expected(content: bytes, batch: int, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> bytes:
    """What this machine's portable C writes."""
    plan = Plan(content, 1, "portable")
    ins = [(ctypes.c_char * array.nbytes).from_buffer_copy(array.tobytes()) for array in inputs]
    outs = [(ctypes.c_char * array.nbytes)() for array in outputs]
    plan.run_node(0, batch, ins, outs)
    return b"".join(bytes(out) for out in outs)


def main() -> int:
    """Compares, prints, and returns 1 where a value differs."""
    program = _KERNELS / "out" / "run_nodes.wasm"
    program.parent.mkdir(exist_ok=True)
    compile_program(program)
    stream, wanted = [], []
    for content, batch, inputs, outputs in cases():
        values = b"".join(array.tobytes() for array in inputs)
        stream += [struct.pack("<3I", len(content), batch, len(values)), content, values]
        wanted.append(expected(content, batch, inputs, outputs))
    wrong = 0
    for instructions in ("wasm", "portable"):
        received = run_program(program, instructions, b"".join(stream))
        at, different = 0, 0
        for one in wanted:
            different += received[at : at + len(one)] != one
            at += len(one)
        different += at != len(received)
        print(f"{instructions}: {len(wanted)} nodes, {at:,} bytes, {different} nodes differ")
        wrong += different
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
