"""Where values lie: in the caller's arrays, or in one static array whose places are used again.

A value takes its place from the step that writes it to the last that reads it. Values whose times
overlap do not share places; the largest chooses first, and takes the lowest place that is free. A step
that goes from value to value, as a sum or a ReLU, writes over an input that nobody else reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from keras_sbn.c_code.steps import Step, Steps
from keras_sbn.tflite.reader import TensorInfo

#: Bytes of an element.
SIZES = {"float32": 4, "int32": 4, "int8": 1, "uint8": 1}
_WORD = 4
#: Steps that read the value they write over, or none before it.
_IN_PLACE = frozenset(
    {
        *("ABS", "ADD", "CEIL", "DIV", "ELU", "EXP", "FLOOR", "GELU", "LEAKY_RELU", "LOG", "LOGISTIC"),
        *("MAXIMUM", "MINIMUM", "MUL", "NEG", "PRELU", "RELU", "RELU6", "ROUND", "RSQRT", "SOFTMAX"),
        *("SQRT", "SUB", "TANH"),
    }
)


@dataclass
class _Interval:
    """A value in the static array: its words, and the first and last step that it is there for."""

    words: int
    first: int
    last: int
    offset: int = 0

    def overlaps(self, other: _Interval) -> bool:
        return self.first <= other.last and other.first <= self.last


class Memory:
    """The places of all values of a network that are computed.

    Args:
        steps: What is done.

    Attributes:
        copies: Outputs, by number, that no step writes to their place: an input, or a value that is
            two outputs.
        words: 32-bit words of the static array.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._outputs: dict[int, int] = {}
        self.copies: list[tuple[TensorInfo, int]] = []
        self._place_outputs()
        self._intervals = self._live()
        self.words = self._plan()

    def place(self, tensor: TensorInfo) -> tuple[str, int]:
        """`("input", number)`, `("output", number)` or `("arena", word)` of a value."""
        stored = self._steps.stored(tensor)
        for number, one in enumerate(self._steps.inputs):
            if one is stored:
                return "input", number
        if id(stored) in self._outputs:
            return "output", self._outputs[id(stored)]
        return "arena", self._intervals[id(stored)].offset

    def _place_outputs(self) -> None:
        """Outputs are written where the caller wants them, each by its own step or by a copy."""
        written = {id(step.output) for step in self._steps.steps}
        for number, tensor in enumerate(self._steps.outputs):
            stored = self._steps.stored(tensor)
            if id(stored) in written and id(stored) not in self._outputs:
                self._outputs[id(stored)] = number
            else:
                self.copies.append((tensor, number))

    def _live(self) -> dict[int, _Interval]:
        steps = self._steps
        found: dict[int, _Interval] = {}
        reads: dict[int, int] = {}
        for number, step in enumerate(steps.steps):
            for tensor in step.sources:
                reads[id(steps.stored(tensor))] = number
        for tensor, _ in self.copies:
            reads[id(steps.stored(tensor))] = len(steps.steps)
        for number, step in enumerate(steps.steps):
            key = id(step.output)
            if key in self._outputs:
                continue
            last = max(reads.get(key, number), number)
            over = self._written_over(step, number, reads, found)
            if over is not None:
                over.last = last
                found[key] = over
            else:
                found[key] = _Interval(words_of(step.output), number, last)
        return found

    def _written_over(
        self, step: Step, number: int, reads: dict[int, int], found: dict[int, _Interval]
    ) -> _Interval | None:
        """The place of an input of the same size that is read for the last time."""
        if step.name not in _IN_PLACE:
            return None
        for tensor in step.sources:
            key = id(self._steps.stored(tensor))
            same = tensor.shape == step.output.shape and tensor.dtype == step.output.dtype
            if same and key in found and reads[key] == number:
                return found[key]
        return None

    def _plan(self) -> int:
        # One interval may hold several values.
        intervals = list({id(one): one for one in self._intervals.values()}.values())
        placed: list[_Interval] = []
        for one in sorted(intervals, key=lambda one: (-one.words, one.first)):
            others = sorted((x for x in placed if x.overlaps(one)), key=lambda x: x.offset)
            for other in others:
                if one.offset + one.words <= other.offset:
                    break
                one.offset = max(one.offset, other.offset + other.words)
            placed.append(one)
        return max((one.offset + one.words for one in placed), default=0)


def elements(tensor: TensorInfo) -> int:
    """The number of elements of a tensor."""
    count = 1
    for size in tensor.shape:
        count *= size
    return count


def words_of(tensor: TensorInfo) -> int:
    """The number of 32-bit words that a tensor takes."""
    return -(-elements(tensor) * SIZES[tensor.dtype] // _WORD)
