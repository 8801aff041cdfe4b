"""What is taken for what, counted by hand."""

import numpy as np
import pytest

from keras_sbn.training.mistakes import Mistakes

#: Five images of three classes; the third has none.
OUTPUTS = np.array([[3.0, 1, 0], [0, 2, 1], [1, 0, 9], [0, 4, 3], [5, 1, 0]])
LABELS = np.array([0, 0, 0, 1, 1])


@pytest.fixture
def mistakes():
    return Mistakes.of(OUTPUTS, LABELS, ["a", "b", "c"])


def test_decisions_are_counted(mistakes):
    assert mistakes.predicted.tolist() == [0, 1, 2, 1, 0]
    assert mistakes.confusion().tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0]]
    assert mistakes.accuracy == 0.4


def test_every_class_says_how_it_was_recognized(mistakes):
    a, b, c = mistakes.by_class()
    assert (a.images, a.correct, a.taken_for, a.times) == (3, 1, "b", 1)
    assert (b.images, b.correct, b.taken_for, b.times) == (2, 1, "a", 1)
    assert (c.images, c.accuracy, c.taken_for) == (0, None, None)
    assert a.accuracy == pytest.approx(1 / 3)


def test_the_surest_mistakes_come_first(mistakes):
    assert mistakes.worst(2).tolist() == [2, 4]
    assert mistakes.worst(9).tolist() == [2, 4, 1]
    right = Mistakes.of(np.eye(3), np.arange(3), "abc")
    assert right.worst(9).tolist() == []
    assert [one.taken_for for one in right.by_class()] == [None] * 3
