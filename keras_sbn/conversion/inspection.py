"""Reading any .tflite file: which operators run binary, which do not, and why."""

from __future__ import annotations

from typing import Any

from keras_sbn.conversion.plan import NO_REASON, Reason
from keras_sbn.conversion.report import MOVING, ConversionReport, kind_of, report_of
from keras_sbn.tflite.costs import Kernel, kernel_of, producers
from keras_sbn.tflite.options import PADDING
from keras_sbn.tflite.reader import FileInfo, OperatorInfo, TensorInfo, content_of, named, read_file


def inspect(file: Any) -> ConversionReport:
    """Says of every operator of a `.tflite` file whether it runs binary, and if not, why.

    The file may come from any converter, for the Larq Compute Engine or for stock TFLite. Nothing but the
    file is needed, and nothing of it is run.

    Args:
        file: A path, the bytes of the file, or a `keras_sbn.ConvertedModel`.

    Returns:
        A `ConversionReport` with a row an operator, named after the tensor it writes.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not a TFLite model, or damaged; the message names the file.
        ImportError: If no package with the TFLite schema is installed.

    Example:

    >>> model = keras.Sequential([keras.Input((32,)), keras_sbn.layers.SelfBinarizingDense(4)])
    >>> report = keras_sbn.binarize(model)
    >>> print(keras_sbn.inspect(keras_sbn.convert(model)))
    """
    with named(file):
        info = read_file(content_of(file))
    network = _Network(info)
    return report_of(info, [network.row(index, op) for index, op in enumerate(info.operators)])


class _Network:
    """The operators of a file and who reads what."""

    def __init__(self, info: FileInfo) -> None:
        self._made_by = producers(info.operators)
        self._outputs = set(info.outputs)
        self._readers: dict[TensorInfo | None, list[OperatorInfo]] = {}
        for op in info.operators:
            for tensor in op.inputs:
                self._readers.setdefault(tensor, []).append(op)
        self._shares: dict[tuple[TensorInfo, int], float] = {}

    def row(self, index: int, op: OperatorInfo) -> tuple[str, str, list[OperatorInfo], Reason]:
        name = f"operator {index}" if op.output is None else op.output.name
        kind, reason = self._judge(op, kernel_of(op, self._made_by))
        return name, kind, [op], reason

    def _judge(self, op: OperatorInfo, kernel: Kernel | None) -> tuple[str, Reason]:
        if op.name == "LceBconv2d":
            return "binary", self._why_not_bits(op)
        stored = op.input(0)
        if op.name == "LceBMaxPool2d" or (op.name == "MAX_POOL_2D" and _is_binary_int8(stored)):
            return "binary", NO_REASON
        kind = kind_of([op])
        if kernel is None:
            return kind, NO_REASON
        share = self._share(kernel)
        if kind == "int8":
            if share == 1 and _is_binary_int8(stored) and _is_binary_int8(op.output):
                return "binary", NO_REASON
            kernel_is = "is ±1, its input is not" if share == 1 else "has more than two values"
            return kind, Reason(f"its kernel {kernel_is}", "")
        if share == 1 and op.name == "CONV_2D" and _is_dynamic(op) and self._comes_from_bits(stored):
            return "binary", Reason("its sums are wanted as numbers", "")
        return kind, self._why_float(op, share)

    def _share(self, kernel: Kernel) -> float:
        """Remembered, as a damaged file can have many operators with one large kernel."""
        key = (kernel.tensor, kernel.channel_axis)
        if key not in self._shares:
            self._shares[key] = kernel.share_of_two_values()
        return self._shares[key]

    def _why_not_bits(self, op: OperatorInfo) -> Reason:
        output = op.output
        if output is None or output.dtype == "int32":
            return NO_REASON
        if op.options.get("padding") == PADDING["same"] and op.options.get("pad_values") == 0:
            return Reason(
                "its border is padded with 0, which is no binary value",
                "train it with a border of +1 (pad_values=1 in Larq, the default of keras_sbn)",
            )
        readers = [reader.name for reader in self._readers.get(output, [])]
        if not self._leads_to_sign(output):
            return Reason("no sign alone reads its sums, which are an output or are added to others", "")
        if len(readers) == 1 and readers[0] != "LceQuantize":
            return Reason(
                f"{readers[0]} reads it before the sign",
                "let batch normalization and sign follow the convolution at once: keras_sbn.fold moves "
                "them before the pool",
            )
        return Reason(f"it is read by {' and '.join(readers) or 'nothing'}", "")

    def _leads_to_sign(self, tensor: TensorInfo) -> bool:
        """Whether a chain of operators, each the only reader of the one before, ends in LceQuantize."""
        for _ in range(8):
            readers = self._readers.get(tensor, [])
            if len(readers) != 1 or tensor in self._outputs or readers[0].output is None:
                return False
            if readers[0].name == "LceQuantize":
                return True
            tensor = readers[0].output
        return False

    def _why_float(self, op: OperatorInfo, share: float) -> Reason:
        binary_input = self._comes_from_bits(op.input(0))
        if share == 1 and binary_input and op.name == "FULLY_CONNECTED":
            return Reason(
                "the Larq Compute Engine has no binary dense kernel, though kernel and input are ±1",
                "as a 1 x 1 convolution it is binary, which is how keras_sbn converts it",
            )
        if share == 1 and binary_input:
            return Reason(
                "it adds up the products of ±1 in float32, as its sums are wanted as numbers", ""
            )
        if share == 1:
            return Reason(
                "its kernel is ±1 and its input is real-valued",
                "a first layer has to read the image; elsewhere put a sign before it",
            )
        if share > 0.9:
            return Reason(
                f"its kernel is nearly ±1: {100 * (1 - share):.2g} % of the weights are not",
                "make it exactly ±1 before converting, as keras_sbn.binarize does",
            )
        if binary_input:
            return Reason(
                "its kernel is real-valued, or not a constant", "a ±1 kernel that is a constant"
            )
        return Reason("its kernel and its input are real-valued", "")

    def _comes_from_bits(self, tensor: TensorInfo | None) -> bool:
        """Whether a float tensor holds unpacked bits, perhaps reshaped or padded."""
        for _ in range(4):
            maker = self._made_by.get(tensor)
            if maker is None:
                return False
            if maker.name == "LceDequantize":
                return True
            if maker.name == "DEQUANTIZE":
                return _is_binary_int8(maker.input(0))
            if maker.name not in MOVING:
                return False
            tensor = maker.input(0)
        return False


def _is_binary_int8(tensor: TensorInfo | None) -> bool:
    """Whether a tensor stores (x - 1) / 2 of a binary x, as `keras_sbn.conversion.tflite` has it."""
    if tensor is None or tensor.dtype != "int8":
        return False
    return tensor.quantization in ((1.0, 127), (1.0, 0))


def _is_dynamic(op: OperatorInfo) -> bool:
    """Whether an operator of a float32 input has an int8 kernel, and so rounds its input to 8 bits."""
    kernel = op.input(1)
    return kernel is not None and kernel.dtype == "int8" and len(kernel.scales) == 1
