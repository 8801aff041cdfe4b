"""Whole networks as C: every output equals Keras's. `make test-c` runs more, and on ARM."""

import os
import shutil

import pytest
from c_networks import known_cases, random_cases
from c_programs import HOST, SANITIZED, compare, run_cases

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed"),
]
#: `make fuzz` sets this to thousands.
NETWORKS = int(os.environ.get("KERAS_SBN_FUZZ", "7"))


@pytest.fixture(scope="module")
def cases():
    return [*known_cases(), *random_cases(NETWORKS)]


@pytest.mark.parametrize("platform", [SANITIZED, HOST], ids=lambda platform: platform.name)
def test_outputs_equal_those_of_keras(cases, platform, tmp_path):
    """Compiled without a warning, and run without reading or writing what is not theirs."""
    assert compare(cases, run_cases(platform, cases, tmp_path), platform.name) > 0


def test_random_networks_convert(cases):
    assert len(cases) - 4 >= 0.4 * NETWORKS
