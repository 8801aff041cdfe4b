"""Files of one or a few operators, written with the schema that ships with LiteRT."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

import flatbuffers
import numpy as np
from flatbuffers import flexbuffers

_folder = Path(importlib.util.find_spec("ai_edge_litert").submodule_search_locations[0])
_spec = importlib.util.spec_from_file_location("kernels_test_schema", _folder / "schema_py_generated.py")
schema = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(schema)

_CODES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "bool": 6, "int8": 9}
SAME, VALID = 0, 1


@dataclass
class File:
    """Tensors and operators of a file, in order."""

    tensors: list = field(default_factory=list)
    buffers: list = field(default_factory=lambda: [schema.BufferT()])
    codes: list = field(default_factory=list)
    operators: list = field(default_factory=list)

    def tensor(self, shape, dtype, scale=None, data=None):
        """Adds a tensor, constant where it has data, and returns its index."""
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), _CODES[str(np.dtype(dtype))], 0
        tensor.name = f"t{len(self.tensors)}"
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale[0]], [scale[1]]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, array):
        return self.tensor(array.shape, array.dtype, data=array)

    def operator(self, code, inputs, outputs, options=None, builtin_options=None):
        """Adds an operator: a custom one by its name, a builtin one by its number."""
        if code not in self.codes:
            self.codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes.index(code)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options is not None:
            operator.customOptions = np.frombuffer(bytes(flexbuffers.Dumps(options)), np.uint8)
        if builtin_options is not None:
            operator.builtinOptionsType, operator.builtinOptions = builtin_options
        self.operators.append(operator)

    def write(self, inputs, outputs) -> bytes:
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version = 3
        model.operatorCodes = []
        for code in self.codes:
            made = schema.OperatorCodeT()
            made.version = 1
            if isinstance(code, str):
                made.customCode, made.builtinCode, made.deprecatedBuiltinCode = code, 32, 32
            else:
                made.builtinCode = made.deprecatedBuiltinCode = code
            model.operatorCodes.append(made)
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        model.subgraphs, model.buffers = [graph], self.buffers
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def add_options(activation=0):
    options = schema.AddOptionsT()
    options.fusedActivationFunction = activation
    return schema.BuiltinOptions.AddOptions, options


def mul_options():
    return schema.BuiltinOptions.MulOptions, schema.MulOptionsT()


def pack(signs: np.ndarray) -> np.ndarray:
    """Bits of +-1 values, the last dimension in words: 1 is -1."""
    bits = signs < 0
    rest = -bits.shape[-1] % 32
    bits = np.concatenate([bits, np.zeros((*bits.shape[:-1], rest), bool)], -1)
    return np.packbits(bits, axis=-1, bitorder="little").view(np.int32)


@dataclass
class Conv:
    """A binary convolution; `output` is "float32", "int8" or "int32" (bits)."""

    batch: int = 1
    height: int = 5
    width: int = 5
    channels: int = 32
    filters: int = 32
    window: tuple = (3, 3)
    strides: tuple = (1, 1)
    dilation: tuple = (1, 1)
    groups: int = 1
    padding: int = SAME
    pad_value: int = 1
    activation: int = 0
    output: str = "int32"
    scale: tuple = (0.5, 3)
    seed: int = 0

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        group = self.channels // self.groups
        self.x = rng.choice([-1, 1], (self.batch, self.height, self.width, self.channels))
        self.kernel = rng.choice([-1, 1], (self.filters, *self.window, group))
        products = int(np.prod(self.window)) * group
        self.multiplier = rng.normal(0, 1, self.filters).astype(np.float32)
        self.bias = rng.normal(0, products**0.5, self.filters).astype(np.float32)
        spread = max(int(products**0.5), 1)
        self.thresholds = (products // 2 + rng.integers(-spread, spread + 1, self.filters)).astype(
            np.int32
        )
        if self.filters > 2:
            self.thresholds[:2] = -(2**31), 2**31 - 1

    def out(self, size, axis):
        effective = (self.window[axis] - 1) * self.dilation[axis] + 1
        if self.padding == SAME:
            count = -(-size // self.strides[axis])
        else:
            count = (size - effective) // self.strides[axis] + 1
        return count, max((count - 1) * self.strides[axis] + effective - size, 0)

    def sums(self):
        """Integers: the convolution itself, and the number of products on a border of 0."""
        (rows, over_y), (columns, over_x) = self.out(self.height, 0), self.out(self.width, 1)
        border = (
            (0, 0),
            (over_y // 2, over_y - over_y // 2),
            (over_x // 2, over_x - over_x // 2),
            (0, 0),
        )
        x = np.pad(self.x, border, constant_values=self.pad_value)
        result = np.zeros((self.batch, rows, columns, self.filters), np.int64)
        inside, outside = self.channels // self.groups, self.filters // self.groups
        for ky in range(self.window[0]):
            for kx in range(self.window[1]):
                y0, x0 = ky * self.dilation[0], kx * self.dilation[1]
                tap = x[:, y0:, x0:][:, :: self.strides[0], :: self.strides[1]][:, :rows, :columns]
                for g in range(self.groups):
                    part = slice(g * outside, (g + 1) * outside)
                    values = tap[..., g * inside : (g + 1) * inside]
                    result[..., part] += values @ self.kernel[part, ky, kx].T
        return result

    def expected(self):
        """What the operator gives, from integers and float32."""
        sums = self.sums()
        products = int(np.prod(self.window)) * (self.channels // self.groups)
        if self.output == "int32":
            # p > threshold, and sum = products - 2 p
            return pack(np.where(products - sums > 2 * self.thresholds.astype(np.int64), -1, 1))
        low, high = {0: (-products, products), 1: (0, products), 2: (-1, 1), 3: (0, 6)}[self.activation]
        x = np.clip(sums, low, high)
        if self.output == "float32":
            return x.astype(np.float32) * self.multiplier + self.bias
        step, zero = self.scale
        multiplier = (-self.multiplier.astype(np.float64) / np.float32(step)).astype(np.float32)
        shifted = self.bias + products * self.multiplier.astype(np.float64)
        bias = (shifted / np.float32(step) + zero).astype(np.float32)
        y = (products - x).astype(np.float32) * multiplier + bias
        away = np.trunc(y) + np.where(np.abs(y - np.trunc(y)) >= 0.5, np.sign(y), 0)
        return np.clip(away, -128, 127).astype(np.int8)

    def options(self):
        return {
            "stride_height": self.strides[0],
            "stride_width": self.strides[1],
            "dilation_height_factor": self.dilation[0],
            "dilation_width_factor": self.dilation[1],
            "padding": self.padding,
            "pad_values": self.pad_value,
            "channels_in": self.channels,
            "fused_activation_function": self.activation,
        }

    def add_to(self, file, x, **changes):
        """Adds the operator, and returns its output; `changes` are other options."""
        rows, columns = self.out(self.height, 0)[0], self.out(self.width, 1)[0]
        bits = self.output == "int32"
        last = -(-self.filters // 32) if bits else self.filters
        scale = self.scale if self.output == "int8" else None
        inputs = [x, file.constant(pack(self.kernel))]
        if bits:
            inputs += [-1, -1, file.constant(self.thresholds)]
        else:
            inputs += [file.constant(self.multiplier), file.constant(self.bias), -1]
        y = file.tensor((self.batch, max(rows, 1), max(columns, 1), last), self.output, scale)
        file.operator("LceBconv2d", inputs, [y], self.options() | changes)
        return y

    def content(self, **changes):
        file = File()
        words = -(-self.channels // 32)
        x = file.tensor((self.batch, self.height, self.width, words), "int32")
        return file.write([x], [self.add_to(file, x, **changes)])


def random_conv(rng: np.random.Generator) -> Conv:
    """A convolution with every option drawn."""
    while True:
        groups = int(rng.choice([1, 1, 1, 2, 3]))
        channels = int(rng.integers(1, 130)) if groups == 1 else 32 * groups * int(rng.integers(1, 3))
        filters = groups * int(rng.integers(1, 80))
        conv = Conv(
            batch=int(rng.integers(1, 4)),
            height=int(rng.integers(1, 12)),
            width=int(rng.integers(1, 12)),
            channels=channels,
            filters=filters,
            window=(int(rng.integers(1, 6)), int(rng.integers(1, 6))),
            strides=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
            dilation=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
            groups=groups,
            padding=int(rng.integers(0, 2)),
            pad_value=int(rng.integers(0, 2)),
            activation=int(rng.integers(0, 4)),
            output=str(rng.choice(["float32", "int8", "int32"])),
            seed=int(rng.integers(0, 2**31)),
        )
        if conv.out(conv.height, 0)[0] >= 1 and conv.out(conv.width, 1)[0] >= 1:
            return conv
