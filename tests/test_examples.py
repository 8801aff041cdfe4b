"""The examples in the docstrings of the training half give what they say."""

import doctest

import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn import callbacks, data, metrics, models, plots, schedules, training

DOCUMENTED = [
    *(getattr(schedules, name) for name in dir(schedules) if name[0].isupper()),
    *(getattr(callbacks, name) for name in dir(callbacks) if name[0].isupper()),
    *(getattr(models, name) for name in dir(models) if name[0].isupper()),
    data.Augmentation,
    data.Batches,
    data.load,
    metrics.FlipRatio,
    keras_sbn.binarize,
    keras_sbn.reestimate_batch_normalization,
    keras_sbn.sharpen,
    keras_sbn.summary,
    models.by_name,
    keras_sbn.plan,
    plots.accuracy_against_bytes,
    plots.confusion_matrix,
    plots.images,
    plots.training_history,
    training.Distillation,
    training.TrainSettings,
    plots.weight_histograms,
]


@pytest.mark.parametrize("documented", DOCUMENTED, ids=lambda documented: documented.__name__)
def test_example(documented, tmp_path, monkeypatch):
    if documented.__module__ == "keras_sbn.plots":
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    names = {"keras": keras, "keras_sbn": keras_sbn, "np": np}
    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(documented, documented.__name__, globs=names)
    if documented is not schedules.SharpnessSchedule:
        assert test.examples
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0
