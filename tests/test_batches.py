"""What a data argument means: one function for every form, and one for every function that takes it."""

import warnings

import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn.batches import arrays_of, batches, check_can_be_read_twice, sample_count
from keras_sbn.callbacks import Monitor, Sharpen
from keras_sbn.schedules import Piecewise

A, B = np.arange(10.0).reshape(5, 2), np.arange(5.0).reshape(5, 1)
LABELS = np.arange(5)


class Loaded(keras.utils.PyDataset):
    """Batches of `(inputs, targets)`."""

    def __init__(self, inputs, count=3):
        super().__init__()
        self.inputs, self.count = inputs, count

    @property
    def num_batches(self):
        return self.count

    def __getitem__(self, index):
        rows = slice(2 * index, 2 * index + 2)
        return keras.tree.map_structure(lambda a: a[rows], self.inputs), LABELS[rows]


def joined(data, **options):
    """The batches of `data`, put together again, and their sizes."""
    found = list(batches(data, batch_size=2, **options))
    sizes = [len(keras.tree.flatten(batch)[0]) for batch in found]
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *found), sizes


def assert_same(found, expected):
    keras.tree.assert_same_structure(found, expected)
    for one, other in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        assert type(one) is np.ndarray
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("inputs", [A, [A, B], {"a": A, "b": B}], ids=["array", "list", "dictionary"])
@pytest.mark.parametrize(
    "form",
    [
        lambda x: x,
        lambda x: (x,),
        lambda x: (x, LABELS),
        lambda x: (x, LABELS, np.ones(5)),
        lambda x: (x, {"one": LABELS, "two": None}),
        Loaded,
        lambda x: batches(x, 2),
        lambda x: [(part, None) for part in batches(x, 2)].__iter__(),
    ],
    ids=["x", "(x,)", "(x, y)", "(x, y, w)", "(x, dict)", "PyDataset", "generator", "of tuples"],
)
def test_every_form_has_the_same_inputs(inputs, form):
    found, sizes = joined(form(inputs))
    assert_same(found, inputs)
    assert sizes == [2, 2, 1]


def test_tensorflow_datasets():
    tf = pytest.importorskip("tensorflow")
    for inputs in (A, {"a": A, "b": B}):
        for data in (inputs, (inputs, LABELS)):
            assert_same(joined(tf.data.Dataset.from_tensor_slices(data).batch(2))[0], inputs)
    # What tf.data calls a tuple of inputs is one of inputs and targets for Keras.
    two = tf.data.Dataset.from_tensor_slices(((A, B), LABELS)).batch(2)
    assert_same(joined(two.map(lambda x, y: ({"a": x[0], "b": x[1]}, y)))[0], {"a": A, "b": B})


def test_an_endless_dataset_needs_steps():
    tf = pytest.importorskip("tensorflow")
    endless = tf.data.Dataset.from_tensor_slices(A).batch(2).repeat()
    with pytest.raises(ValueError, match=r"Expected `x` to have an end\. .*x\.take\(number_of_batches\)"):
        list(batches(endless, name="x"))
    assert joined(endless, steps=2)[1] == [2, 2]
    with pytest.raises(ValueError, match="num_batches=None"):
        list(batches(Loaded(A, None)))
    assert joined(Loaded(A, None), steps=2)[1] == [2, 2]


def test_loaders_of_torch_mean_tuples_by_their_lists():
    torch = pytest.importorskip("torch")
    pairs = torch.utils.data.TensorDataset(torch.tensor(A), torch.tensor(LABELS))
    assert_same(joined(torch.utils.data.DataLoader(pairs, batch_size=2))[0], A)


def test_tensors_of_the_backend_are_arrays():
    assert_same(joined(keras.ops.convert_to_tensor(A.astype("float32")))[0], A.astype("float32"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((A, LABELS[:3]), r"equally many samples\. Received: \[3, 5\]"),
        ([A, B[:4]], r"equally many samples\. Received: \[4, 5\]"),
        ((A, B, LABELS, LABELS), "Received: 4 elements; several inputs are a list"),
        ([[1.0, 2.0], [3.0, 4.0]], "make one array of a list of samples"),
        (np.float32(3), "arrays with an axis of samples"),
        (3, r"Expected `x` to be an array, a list or dictionary .* Received: x=3"),
        (lambda: [A], r"Expected `x` to be an array, a list or dictionary"),
        (A[:0], "at least one batch. Received none: x is empty"),
        (iter([]), "an iterator can be read only once"),
    ],
)
def test_rejects_what_is_none_of_these(data, message):
    with pytest.raises(ValueError, match=message):
        list(batches(data, name="x"))


def test_only_iterators_are_read_once():
    for data in (A, [A], (A, LABELS), {"a": A}, Loaded(A), [(A, B)]):
        check_can_be_read_twice(data, "data")
    with pytest.raises(ValueError, match="Expected `data` that can be read more than once"):
        check_can_be_read_twice(iter([A]), "data")


def test_one_array_an_input_by_order_or_by_name():
    assert_same(arrays_of([A, B], ("a", "b")), [A, B])
    assert_same(arrays_of({"b": B, "a": A, "c": A}, ("a", "b")), [A, B])
    assert_same(arrays_of(A, ("a",)), [A])
    with pytest.raises(ValueError, match=r"inputs named \['a', 'b'\]\. Received: \['a'\]"):
        arrays_of({"a": A}, ("a", "b"))
    with pytest.raises(ValueError, match=r"one array for each .*Received: 1 arrays"):
        arrays_of(A, ("a", "b"))
    assert [sample_count(data) for data in (A, [B, A], (A, LABELS), {"a": A})] == [5, 5, 5, 5]
    assert sample_count(iter([A])) is None


def two_inputs():
    """A soft model of two inputs, with a batch normalization."""
    keras.utils.set_random_seed(1)
    first, second = keras.Input((2,), name="a"), keras.Input((1,), name="b")
    x = keras.layers.Concatenate()([first, second])
    x = keras_sbn.layers.SelfBinarizingDense(8, name="dense")(x)
    x = keras_sbn.layers.BinaryBatchNormalization(name="normalize")(x)
    x = keras_sbn.layers.SelfBinarizingDense(3, binarize_input=True)(x)
    return keras.Model([first, second], x)


def forms():
    """The same data in every form."""
    lists, dictionary = [A, B], {"a": A, "b": B}
    yield from ((form, form) for form in ((lists, LABELS), lists, dictionary, (dictionary,)))
    yield Loaded(lists), lists
    yield Loaded(dictionary), lists


def test_every_function_takes_every_form():
    expected = None
    for data, same in forms():
        network, other = two_inputs(), two_inputs()
        report = keras_sbn.binarize(network, data=data)
        assert keras_sbn.reestimate_batch_normalization(network, data, batch_size=2) == 1
        agreed = keras_sbn.agreement(network, other, data)
        assert agreed == keras_sbn.agreement(network, other, data, same)
        sharpen = Sharpen(Piecewise([], [0.5]), data=data)
        sharpen.set_model(other)
        sharpen.set_params({"epochs": 1, "steps": 1})
        sharpen.on_train_begin()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            sharpen.on_train_end()
        found = [
            report.changed_predictions,
            agreed,
            sharpen.report.changed_predictions,
            *keras.ops.convert_to_numpy(network.get_layer("normalize").moving_mean),
            *keras.ops.convert_to_numpy(other.get_layer("normalize").moving_mean),
        ]
        expected = found if expected is None else expected
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_iterators_are_refused_where_data_is_read_twice():
    network = two_inputs()
    for read_twice in (
        lambda data: keras_sbn.binarize(network, data),
        lambda data: keras_sbn.agreement(network, network, data),
        lambda data: Sharpen(data=data),
        lambda data: Monitor(data),
    ):
        with pytest.raises(ValueError, match="that can be read more than once"):
            read_twice(iter([[A, B]]))
    with pytest.raises(ValueError, match=r"as many samples in `x` as in `other_x`"):
        keras_sbn.agreement(network, network, [A, B], [A[:2], B[:2]])


def test_the_old_name_of_the_data_of_binarize():
    with pytest.warns(DeprecationWarning, match="`x` of binarize is `data` now"):
        assert keras_sbn.binarize(two_inputs(), x=[A, B]).changed_predictions is not None
