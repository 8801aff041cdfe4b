"""Where values lie: nothing overlaps that is there at one time, and no more is taken than needed."""

import numpy as np
import pytest

from keras_sbn.c_code.loops import broadcast_axes, filled, merged
from keras_sbn.c_code.memory import Memory
from keras_sbn.c_code.steps import Step, Steps
from keras_sbn.tflite.reader import TensorInfo


def _tensor(name, size, dtype="float32"):
    return TensorInfo(name, (1, size), dtype, 0)


def _steps(inputs, outputs, *described):
    steps = [Step(name, list(sources), output) for name, sources, output in described]
    return Steps((inputs,), tuple(outputs), steps, {}, {})


def test_places_are_used_again():
    """a -> b -> c -> out: a and c share a place."""
    x, a, b, c, out = (_tensor(name, size) for name, size in zip("xabco", (5, 10, 4, 8, 3), strict=True))
    memory = Memory(
        _steps(
            x,
            [out],
            ("CONV_2D", [x], a),
            ("CONV_2D", [a], b),
            ("CONV_2D", [b], c),
            ("CONV_2D", [c], out),
        )
    )
    assert memory.words == 14
    assert memory.place(a) == memory.place(c) == ("arena", 0)
    assert memory.place(b) == ("arena", 10)
    assert memory.place(x) == ("input", 0)
    assert memory.place(out) == ("output", 0)


def test_a_sum_is_written_over_what_nobody_reads_any_more():
    x, a, b, c, out = (_tensor(name, 10) for name in "xabco")
    steps = _steps(
        x, [out], ("CONV_2D", [x], a), ("CONV_2D", [a], b), ("ADD", [a, b], c), ("CONV_2D", [c], out)
    )
    memory = Memory(steps)
    assert memory.words == 20
    assert memory.place(c) == memory.place(a)
    # But not where it is read later.
    steps = _steps(x, [out], ("CONV_2D", [x], a), ("ADD", [a, a], b), ("ADD", [a, b], out))
    memory = Memory(steps)
    assert memory.place(a) != memory.place(b)


def test_bytes_take_whole_words():
    x, a, out = _tensor("x", 1), _tensor("a", 5, "int8"), _tensor("out", 1)
    assert Memory(_steps(x, [out], ("QUANTIZE", [x], a), ("DEQUANTIZE", [a], out))).words == 2


def test_outputs_that_no_step_writes_are_copied():
    x, a = _tensor("x", 4), _tensor("a", 4)
    memory = Memory(_steps(x, [x, a, a], ("CONV_2D", [x], a)))
    assert [number for _, number in memory.copies] == [0, 2]
    assert memory.place(a) == ("output", 1)


@pytest.mark.parametrize("seed", range(20))
def test_values_that_are_there_at_one_time_do_not_overlap(seed):
    """Random graphs, run with the numbers of the steps as values: every step finds its inputs whole."""
    rng = np.random.default_rng(seed)
    x = _tensor("x", 3)
    tensors, described = [x], []
    for number in range(12):
        sources = [tensors[i] for i in rng.integers(0, len(tensors), 2)]
        size = int(rng.choice([sources[0].shape[1], 2, 7]))
        output = _tensor(f"t{number}", size)
        described.append((str(rng.choice(["ADD", "CONCATENATION"])), sources, output))
        tensors.append(output)
    steps = _steps(x, [tensors[-1]], *described)
    memory = Memory(steps)
    stored = {("input", 0): np.full(3, -1)}
    arena = np.zeros(memory.words, int)
    for number, step in enumerate(steps.steps):
        for source in step.sources:
            kind, at = memory.place(source)
            value = stored[kind, at] if kind != "arena" else arena[at : at + source.shape[1]]
            wanted = -1 if source is x else tensors.index(source)
            assert (value == wanted).all(), (number, source.name)
        kind, at = memory.place(step.output)
        if kind == "arena":
            arena[at : at + step.output.shape[1]] = number + 1
        else:
            stored[kind, at] = np.full(step.output.shape[1], number + 1)


def test_axes_that_lie_together_are_one():
    assert merged([(1, 9, 9), (4, 15, 15), (5, 3, 3), (3, 1, 1)]) == [(60, 1, 1)]
    assert broadcast_axes((2, 5, 3), (2, 5, 3), (3,)) == [(10, 3, 0), (3, 1, 1)]
    assert broadcast_axes((2, 5, 3), (2, 1, 3), (1, 5, 1)) == [(2, 3, 0), (5, 0, 1), (3, 1, 0)]


def test_too_many_axes():
    axes = [(2, 100, 1), (2, 10, 3), (2, 50, 7)]
    with pytest.raises(
        ValueError, match=r"Expected values of at most 2 axes.*Received: 'sum', which takes 3"
    ):
        filled(axes, 2, "sum")
    assert filled(axes, 4, "sum") == [(1, 0, 0), *axes]
