"""The schema of TFLite is the same, whichever installed package brings it."""

import keras
import pytest

import keras_sbn
from keras_sbn.tflite import schema as schema_module

INSTALLED = [
    place for place in schema_module._PLACES if schema_module.file_of_package(*place) is not None
]


@pytest.fixture
def take(monkeypatch):
    """Takes the schema from some places alone, without what is remembered of others."""
    remembered = (schema_module.schema, schema_module.names_of)

    def take(*places):
        monkeypatch.setattr(schema_module, "_PLACES", places)
        for function in remembered:
            function.cache_clear()
        return schema_module.schema()

    yield take
    for function in remembered:
        function.cache_clear()


def _files():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 32)),
            keras_sbn.layers.SelfBinarizingActivation(),
            keras_sbn.layers.SelfBinarizingConv2D(32, 3),
            keras_sbn.layers.SelfBinarizingActivation(),
            keras_sbn.layers.SelfBinarizingConv2D(4, 3),
        ]
    )
    keras_sbn.binarize(model)
    return [keras_sbn.convert(model, target, labels=list("abcd")).content for target in ("lce", "tflite")]


def test_files_are_byte_identical_with_the_schema_of_every_package(take):
    files = []
    for place in INSTALLED:
        module = take(place)
        assert place[0] in module.__file__
        # Names that Keras counts up are in the files.
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        files.append(_files())
    assert all(found == files[0] for found in files)


def test_litert_comes_first_as_it_is_there_for_every_python(take):
    assert schema_module._PLACES[0][0] == "ai_edge_litert"
    assert INSTALLED[0][0] in take(*schema_module._PLACES).__file__


def test_without_a_schema_the_error_names_an_extra_that_this_python_has(take, monkeypatch):
    with pytest.raises(ImportError, match=r"None is installed: pip install 'keras-sbn\[convert\]'"):
        take(("no_such_package", "schema.py"))
    monkeypatch.setattr(schema_module, "installed", lambda name: False)
    with pytest.raises(ImportError, match=r"needs flatbuffers.*pip install 'keras-sbn\[convert\]'"):
        take(*INSTALLED)
