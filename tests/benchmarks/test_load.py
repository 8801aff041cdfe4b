"""The measurement of `predict` under load finds what it looks for."""

import load
import numpy as np
import pytest
from conftest import digit_network

import keras_sbn


@pytest.fixture
def converted():
    model = digit_network()
    keras_sbn.binarize(model)
    return keras_sbn.convert(model)


def test_counts_the_calls_of_every_thread(converted):
    found = load.run(converted, 4, 80)
    assert (found["calls"], found["wrong"]) == (80, 0)
    assert 0 < found["median"] <= found["late"]


def test_finds_wrong_results(converted, monkeypatch):
    predict = keras_sbn.ConvertedModel.predict

    def sometimes_wrong(self, x):
        return predict(self, x) + (len(x) == 1 and float(x.sum()) > 0)

    monkeypatch.setattr(keras_sbn.ConvertedModel, "predict", sometimes_wrong)
    found = load.run(converted, 2, 64)
    rng = np.random.default_rng(0)
    x = (rng.integers(0, 256, (64, 7, 6, 2)) / 128 - 1).astype("float32")
    # Those before the measurement begins are compared as well: three of each thread.
    calls = [(thread, call) for thread in range(2) for call in (*range(3), *range(32))]
    expected = sum(float(x[(7 * call + thread) % 64].sum()) > 0 for thread, call in calls)
    assert found["wrong"] == expected > 0


def test_shows_a_row_for_every_way_to_call(converted, monkeypatch):
    shown = []
    figures = {"wrong": 3, "seconds": 2.0, "calls": 40, "median": 1.5, "late": 9.25}
    figures |= {"bytes": 7e6, "more": -1e5}
    monkeypatch.setattr(load, "run", lambda *arguments: figures)
    monkeypatch.setattr(load, "run_in_processes", lambda *arguments: figures)
    load.table({"ours": converted}, 40, shown.append)
    lines = shown[0].splitlines()
    assert len(lines) - 2 in (4, 8)
    assert "1 thread " in lines[2]
    assert "8 processes" in lines[5]
    assert lines[2].split()[-7:] == ["40", "3", "20", "1.5", "9.2", "7", "-0.1"]
