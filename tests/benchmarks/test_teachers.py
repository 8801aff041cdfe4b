"""The benchmark of teachers: differences seed by seed, and what a student starts from."""

import numpy as np
import pytest
import teachers
from accuracy_methods import METHODS
from accuracy_networks import CHAINS, build

import keras_sbn


def row(way, seed, test):
    return {"dataset": "digits", "way": way, "seed": str(seed), "test": str(test)}


def test_the_report_compares_seed_by_seed():
    rows = [row("labels", 0, 0.9), row("labels", 1, 0.8), row("labels", 2, 0.7)]
    rows += [row("teacher, T = 4", 0, 0.91), row("teacher, T = 4", 1, 0.83), row("float", 0, 0.99)]
    lines = teachers.report(rows).splitlines()
    assert lines[0].startswith("| digits | seeds")
    assert lines[2:] == [
        "| float | 1 | 99.00 ± ? % |  |",
        "| labels | 3 | 80.00 ± 5.77 % |  |",
        "| teacher, T = 4 | 2 | 87.00 ± 4.00 % | +2.00 ± 1.00 |",
    ]


def test_the_page_has_the_table_of_the_committed_runs():
    page = (teachers.HERE.parent / "docs" / "teachers.md").read_text()
    assert teachers.report(teachers.rows()) in page


@pytest.fixture
def networks(monkeypatch):
    monkeypatch.setitem(CHAINS, "test", ((4, "M", 6), (5,)))
    return [build("test", METHODS[name].kit(), (4, 4, 1)) for name in ("ours", "float-relu")]


def test_a_student_starts_from_the_kernels_of_its_teacher(networks):
    student, teacher = networks
    teachers.start_from(student, teacher)
    kinds = ("Conv2D", "Dense")
    both = list(zip(teachers.of_kind(student, *kinds), teachers.of_kind(teacher, *kinds), strict=True))
    assert len(both) == 4
    for mine, other in both:
        np.testing.assert_array_equal(np.array(mine.kernel), np.array(other.kernel))


def test_features_are_the_normalized_maps_of_both(networks):
    student, teacher = networks
    pairs = teachers.pairs(student, teacher)
    assert len(pairs) == 2
    for mine, other in pairs.items():
        assert student.get_layer(mine).output.shape == teacher.get_layer(other).output.shape
    keras_sbn.training.Distillation(student, teacher, features=pairs)
