"""Schedules: their values, their arguments, their round trips, and the one that adapts."""

import json
import math
from itertools import pairwise

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sbn.schedules import (
    Adaptive,
    Cosine,
    Exponential,
    Linear,
    Piecewise,
    SharpnessSchedule,
)

RISES = [Exponential, Linear, Cosine, Adaptive]
EXAMPLES = [
    Exponential(0.5, 100, 0.1, 0.9),
    Linear(0.5, 100, 0.1, 0.9),
    Cosine(0.5, 100, 0.1, 0.9),
    Piecewise([0.25, 0.5], [1, 2, 3]),
    Adaptive(0.5, 100, 0.1, 0.9, loss_tolerance=0.2, gap_tolerance=0.3, eagerness=1.5, patience=2),
]


@pytest.mark.parametrize("kind", RISES)
def test_rises_between_its_fractions_of_training(kind):
    schedule = kind(2.0, 200.0, begin_at=0.2, end_at=0.8, hard=False)
    values = [schedule(progress) for progress in np.linspace(0, 1, 101)]
    assert values[0] == schedule(0.2) == 2.0
    assert values[-1] == schedule(0.8) == 200.0
    assert values == sorted(values)
    assert schedule(0.3) > 2.0
    if kind is not Adaptive:  # which is eager
        assert schedule(0.75) < 200.0


@pytest.mark.parametrize("kind", RISES)
def test_is_hard_from_the_end_of_the_rise_on(kind):
    schedule = kind(2.0, 200.0, begin_at=0.2, end_at=0.8)
    assert schedule(0.799) <= 200.0
    assert schedule(0.8) == schedule(1.0) == math.inf
    assert schedule(0.3) == kind(2.0, 200.0, begin_at=0.2, end_at=0.8, hard=False)(0.3)


def test_default_is_that_of_the_documentation():
    expected = {"start": 1.0, "end": 1e7, "begin_at": 0.0, "end_at": 0.75, "hard": True}
    assert Exponential().get_config() == expected


def test_values_in_the_middle():
    arguments = {"start": 1.0, "end": 100.0, "end_at": 1.0}
    assert Exponential(**arguments)(0.5) == pytest.approx(10)
    assert Linear(**arguments)(0.5) == pytest.approx(50.5)
    assert Cosine(**arguments)(0.5) == pytest.approx(10)
    assert Cosine(**arguments)(0.25) == pytest.approx(100 ** ((1 - math.sqrt(0.5)) / 2))
    assert Cosine(**arguments)(0.1) < Exponential(**arguments)(0.1)
    assert Cosine(**arguments)(0.9) > Exponential(**arguments)(0.9)


def test_piecewise_takes_the_next_value_at_a_boundary():
    schedule = Piecewise([0.25, 0.5], [1, 2, 3])
    assert [schedule(p) for p in (0, 0.24, 0.25, 0.49, 0.5, 1)] == [1, 1, 2, 2, 3, 3]
    assert Piecewise([], [7])(0.3) == 7


@pytest.mark.parametrize("schedule", EXAMPLES, ids=lambda schedule: type(schedule).__name__)
def test_serialization(schedule):
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(schedule)))
    assert stored["registered_name"] == f"keras_sbn>{type(schedule).__name__}"
    restored = keras.saving.deserialize_keras_object(stored)
    assert type(restored) is type(schedule)
    assert restored.get_config() == schedule.get_config()
    for progress in np.linspace(0, 1, 21):
        assert restored(progress) == schedule(progress)


@pytest.mark.parametrize("kind", RISES)
@pytest.mark.parametrize(
    "arguments",
    [
        {"start": 0.0},
        {"end": math.inf},
        {"end": math.nan},
        {"begin_at": 0.5, "end_at": 0.5},
        {"begin_at": -0.1},
        {"end_at": 1.1},
    ],
)
def test_rejects_bad_arguments(kind, arguments):
    with pytest.raises(ValueError, match=r"Expected .*\. Received: .*="):
        kind(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"loss_tolerance": -1}, {"gap_tolerance": -0.1}, {"eagerness": 0.5}, {"patience": 0}],
)
def test_adaptive_rejects_bad_arguments(arguments):
    with pytest.raises(ValueError, match=r"Expected .*\. Received: .*="):
        Adaptive(**arguments)


@pytest.mark.parametrize(
    ("boundaries", "values"),
    [([0.5, 0.25], [1, 2, 3]), ([0.0], [1, 2]), ([1.0], [1, 2]), ([0.5], [1]), ([0.5], [1, -1])],
)
def test_piecewise_rejects_bad_arguments(boundaries, values):
    with pytest.raises(ValueError, match=r"Expected .*\. Received: "):
        Piecewise(boundaries, values)


def test_base_asks_for_an_implementation():
    with pytest.raises(NotImplementedError, match="__call__"):
        SharpnessSchedule()(0.5)
    with pytest.raises(NotImplementedError, match="get_config"):
        SharpnessSchedule().get_config()


def adaptive():
    return Adaptive(1.0, 1024.0, end_at=1.0, hard=False, eagerness=1.0, patience=2)


def test_adaptive_rises_while_the_loss_keeps_up():
    schedule = adaptive()
    for epoch in range(1, 11):
        schedule.observe(epoch / 10, {"loss": 1 / epoch})
        assert schedule(epoch / 10) == pytest.approx(2**epoch)


def test_adaptive_holds_until_the_loss_has_recovered():
    schedule = adaptive()
    schedule.observe(0.1, {"loss": 1.0})
    schedule.observe(0.2, {"loss": 1.2})
    assert schedule(0.2) == schedule(0.25) == schedule(0.3)
    schedule.observe(0.3, {"loss": 1.04})  # within 5 %
    assert schedule(0.35) > schedule(0.3) == pytest.approx(4)


def test_adaptive_holds_when_the_gap_grows():
    schedule = adaptive()
    schedule.observe(0.1, {"loss": 1.0, "val_loss": 1.0, "val_hard_loss": 1.5})
    assert schedule(0.2) > schedule(0.1)
    schedule.observe(0.2, {"loss": 0.9, "val_loss": 1.0, "val_hard_loss": 1.7})
    assert schedule(0.3) == schedule(0.2)
    schedule.observe(0.3, {"loss": 0.9, "val_loss": 1.0, "val_hard_loss": 1.7})  # large, but not growing
    assert schedule(0.4) > schedule(0.3)


def test_adaptive_loses_patience():
    schedule = adaptive()
    schedule.observe(0.1, {"loss": 1.0})
    schedule.observe(0.2, {"loss": 2.0})
    assert schedule(0.3) == schedule(0.2)
    schedule.observe(0.3, {"loss": 2.0})
    assert schedule(0.4) > schedule(0.3)
    schedule.observe(0.4, {"loss": 2.0})  # this is the loss to keep up with now
    assert schedule(0.5) > schedule(0.4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.01, 10), min_size=4, max_size=30), st.floats(0.3, 1.0))
def test_adaptive_always_arrives_and_never_falls(losses, end_at):
    schedule = Adaptive(1.0, 1e7, end_at=end_at)
    values = []
    for epoch, loss in enumerate(losses):
        values += [schedule((epoch + part) / len(losses)) for part in (0, 0.5, 0.999)]
        schedule.observe((epoch + 1) / len(losses), {"loss": loss})
    assert all(low <= high * (1 + 1e-12) for low, high in pairwise(values))
    assert schedule(end_at) == schedule(1.0) == math.inf
    assert schedule.value(end_at) == 1e7


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.01, 10), min_size=4, max_size=12), st.data())
def test_adaptive_resumes_from_its_state(losses, choose):
    at = choose.draw(st.integers(0, len(losses) - 1))
    unbroken, resumed = Adaptive(), Adaptive()
    for epoch, loss in enumerate(losses):
        if epoch == at:
            resumed = Adaptive.from_config(resumed.get_config())
            resumed.set_state(json.loads(json.dumps(unbroken.get_state())))
        unbroken.observe((epoch + 1) / len(losses), {"loss": np.float32(loss)})
        if epoch >= at:
            resumed.observe((epoch + 1) / len(losses), {"loss": np.float32(loss)})
            assert resumed((epoch + 1.5) / len(losses)) == unbroken((epoch + 1.5) / len(losses))
    assert resumed.get_state() == unbroken.get_state()
