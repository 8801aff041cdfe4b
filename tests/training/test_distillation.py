"""A student trained with a teacher: loss against NumPy, callbacks, what is saved, refusals."""

import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn import layers
from keras_sbn.training import Distillation
from keras_sbn.training.soft_labels import SoftLabels, forms_of

#: XLA compiles for longer than these trainings last; JAX has nothing else.
COMPILED = keras.backend.backend() == "jax"
SPARSE = "sparse_categorical_crossentropy"


def classifier(convolution, dense, activation, channels=4, ends=None):
    """Maps named "map", normalized as "normal", then three classes."""
    inputs = keras.Input((6, 6, 1))
    x = convolution(channels, 3, padding="same", name="map")(inputs)
    x = keras.layers.BatchNormalization(name="normal", momentum=0.9)(x)
    x = keras.layers.Flatten()(activation()(x))
    x = keras.layers.BatchNormalization()(dense(3, name="classes")(x))
    return keras.Model(inputs, x if ends is None else keras.layers.Activation(ends)(x))


def float_model(**options):
    return classifier(keras.layers.Conv2D, keras.layers.Dense, keras.layers.ReLU, **options)


def binary_model(**options):
    return classifier(
        layers.SelfBinarizingConv2D,
        layers.SelfBinarizingDense,
        layers.SelfBinarizingActivation,
        **options,
    )


@pytest.fixture
def data(rng):
    return rng.normal(size=(32, 6, 6, 1)).astype("float32"), rng.integers(0, 3, 32)


def from_logits():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_loss_is_the_divergence_of_the_classes(rng, temperature):
    teacher, student = rng.normal(size=(2, 5, 4)) * 3
    weights = rng.random(5)
    t, s = softmax(teacher / temperature), softmax(student / temperature)
    expected = temperature**2 * (t * np.log(t / s)).sum(-1)
    found = SoftLabels(temperature)(teacher, student, sample_weight=weights)
    np.testing.assert_allclose(float(found), (expected * weights).mean(), rtol=1e-4)
    assert float(SoftLabels(temperature)(teacher, teacher)) == pytest.approx(0, abs=1e-6)


def test_the_loss_of_single_units_is_the_divergence_of_each(rng):
    teacher, student = rng.normal(size=(2, 5, 2)) * 3
    t, s = (1 / (1 + np.exp(-x / 2)) for x in (teacher, student))
    expected = t * np.log(t / s) + (1 - t) * np.log((1 - t) / (1 - s))
    found = SoftLabels(2.0, independent=True)(teacher, student)
    np.testing.assert_allclose(float(found), 4 * expected.mean(), rtol=1e-4)


@pytest.mark.parametrize("ends", [None, "softmax"])
def test_what_a_step_logs_is_labels_and_teacher(data, ends):
    x, y = data
    weights = np.linspace(0, 1, 32).astype("float32")
    teacher, student = float_model(ends="softmax"), binary_model(ends=ends)
    both = Distillation(student, teacher, temperature=2.0, weight=3.0, features={"normal": "map"})
    both.compile(
        "sgd",
        from_logits() if ends is None else SPARSE,
        weighted_metrics=["accuracy"],
        run_eagerly=True,
    )
    # As in training: batch normalization of the batch.
    outputs = keras.ops.convert_to_numpy(student(x, training=True))
    given = outputs if ends is None else np.log(outputs)
    taught = np.log(teacher.predict(x, verbose=0))
    t, s = softmax(taught / 2), softmax(given / 2)
    of_teacher = 3 * 4 * (weights * (t * np.log(t / s)).sum(-1)).mean()
    labels = -(weights * np.log(softmax(given)[np.arange(32), y])).mean()
    logs = both.fit(x, y, sample_weight=weights, batch_size=32, verbose=0).history
    assert logs["teacher_loss"][0] == pytest.approx(of_teacher, rel=1e-3)
    assert logs["loss"][0] == pytest.approx(labels + of_teacher + logs["feature_loss"][0], rel=1e-3)
    assert set(logs) == {"loss", "accuracy", "teacher_loss", "feature_loss"}


class Watched(keras.layers.Layer):
    """Has a metric of its own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seen = keras.metrics.Mean(name="seen")

    def call(self, x):
        return x


def test_metrics_are_those_of_the_training_and_of_layers(data):
    """What the student is compiled with has the same names, and no step updates it."""
    x, y = data
    inputs = keras.Input((6, 6, 1))
    student = keras.Model(inputs, Watched()(binary_model()(inputs)))
    both = Distillation(student, float_model())
    both.compile("sgd", from_logits(), metrics=["accuracy"])
    student.fit(x[:8], y[:8], verbose=0)
    assert [both.metrics_names.count(name) for name in ("loss", "teacher_loss", "seen")] == [1, 1, 1]
    assert not {id(metric) for metric in both.metrics} & {id(student._loss_tracker)}


def test_attention_compares_where_a_map_is_active(data):
    x, y = data
    teacher, student = float_model(channels=7), binary_model()
    both = Distillation(student, teacher, weight=0.0, features={"map": "map"}, feature_weight=0.5)
    both.compile("sgd", from_logits(), run_eagerly=True)

    def activity(model):
        maps = keras.Model(model.input, model.get_layer("map").output).predict(x, verbose=0)
        flat = (maps**2).sum(-1).reshape(32, -1)
        return flat / np.linalg.norm(flat, axis=-1, keepdims=True)

    expected = ((activity(teacher) - activity(student)) ** 2).sum(-1).mean()
    logs = both.fit(x, y, batch_size=32, verbose=0).history
    assert logs["feature_loss"][0] == pytest.approx(expected, rel=1e-3)
    assert logs["teacher_loss"][0] == 0


def test_the_student_learns_from_the_teacher_alone(rng):
    x = rng.normal(size=(256, 6)).astype("float32")
    inputs = keras.Input((6,))
    teacher = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer="orthogonal")(inputs))
    student = keras.Sequential(
        [
            keras.Input((6,)),
            layers.SelfBinarizingDense(32),
            layers.BinaryBatchNormalization(),
            layers.SelfBinarizingActivation(),
            layers.SelfBinarizingDense(3),
            layers.BinaryBatchNormalization(),
        ]
    )
    before = teacher.get_weights()
    both = Distillation(student, teacher, temperature=1.0)
    both.compile(keras.optimizers.Adam(1e-2), jit_compile=COMPILED)
    both.fit(x, epochs=15, batch_size=32, verbose=0, callbacks=[keras_sbn.callbacks.Sharpen()])
    assert keras_sbn.binarize(student).already_binary
    assert keras_sbn.agreement(student, teacher, x) > 0.6
    assert teacher.trainable
    for one, other in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_callbacks_save_the_student_and_a_training_goes_on_from_it(data, tmp_path):
    teacher = float_model()

    def train(student, optimizer, first, last, **arguments):
        both = Distillation(student, teacher)
        both.compile(optimizer, from_logits(), metrics=["accuracy"], jit_compile=COMPILED)
        options = {"epochs": 4, "initial_epoch": first, "batch_size": 16, "shuffle": False, "verbose": 0}
        stop = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: setattr(both, "stop_training", epoch + 1 == last)
        )
        save = keras.callbacks.ModelCheckpoint(str(tmp_path / "student.keras"))
        sharpen = keras_sbn.callbacks.Sharpen(binarize=False)
        hard = keras_sbn.callbacks.HardValidation(data)
        both.fit(*data, validation_data=data, callbacks=[hard, sharpen, save, stop], **options)
        return both.evaluate(*data, verbose=0, return_dict=True)

    keras.utils.set_random_seed(1)
    student = binary_model()
    start = student.get_weights()
    whole = train(student, keras.optimizers.Adam(1e-2), 0, 4)
    again = binary_model()
    again.set_weights(start)
    train(again, keras.optimizers.Adam(1e-2), 0, 2)
    loaded = keras.models.load_model(tmp_path / "student.keras")
    assert not isinstance(loaded, Distillation)
    assert int(keras.ops.convert_to_numpy(loaded.optimizer.iterations)) == 4
    assert len(loaded.weights) == len(student.weights)
    resumed = train(loaded, loaded.optimizer, 2, 4)
    assert resumed == pytest.approx(whole, rel=1e-3, abs=1e-3)
    assert loaded.evaluate(*data, verbose=0, return_dict=True) == pytest.approx(resumed)


def test_a_student_that_starts_from_the_arrays_of_its_teacher(data):
    """Under JAX both have one array then, which a training step donates once."""
    student, teacher = binary_model(), float_model()
    for name in ("map", "classes"):
        student.get_layer(name).kernel.assign(teacher.get_layer(name).kernel)
    before = [np.array(weight) for weight in teacher.get_weights()]
    training = Distillation(student, teacher)
    training.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    training.fit(*data, epochs=2, verbose=0)
    for weight, expected in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)
    moved = np.abs(np.subtract(student.get_weights()[0], teacher.get_weights()[0]))
    assert moved.max() > 0


def test_backup_and_restore_goes_on(data, tmp_path):
    both = Distillation(binary_model(), float_model())
    both.compile("adam", from_logits(), jit_compile=COMPILED)

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    backup = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
    with pytest.raises(KeyboardInterrupt):
        both.fit(*data, epochs=4, verbose=0, callbacks=[backup, Stop()])
    left = both.student.get_weights()
    other = Distillation(binary_model(), float_model())
    other.compile("adam", from_logits(), jit_compile=COMPILED)
    seen = []
    other.fit(
        *data,
        epochs=4,
        verbose=0,
        callbacks=[
            keras.callbacks.BackupAndRestore(str(tmp_path / "backup")),
            keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs: seen.append((epoch, other.student.get_weights()))
            ),
        ],
    )
    assert [epoch for epoch, _ in seen] == [2, 3]
    for one, expected in zip(seen[0][1], left, strict=True):
        np.testing.assert_allclose(one, expected)


def test_several_outputs_have_weights_of_their_own(rng):
    def model(dense, **classes):
        inputs = keras.Input((4,))
        place = dense(2, name="place")(inputs)
        kind = keras.layers.BatchNormalization()(dense(3)(inputs))
        return keras.Model(inputs, {"kind": keras.layers.Activation("softmax")(kind), "place": place})

    x = rng.normal(size=(16, 4)).astype("float32")
    targets = {"kind": rng.integers(0, 3, 16), "place": rng.normal(size=(16, 2)).astype("float32")}
    student, teacher = model(layers.SelfBinarizingDense), model(keras.layers.Dense)
    losses = {"kind": SPARSE, "place": "mse"}
    both = Distillation(student, teacher, weight={"kind": 1.0, "place": 0.0}, temperature=1.0)
    both.compile("sgd", losses, run_eagerly=True)
    outputs = keras.ops.convert_to_numpy(student(x, training=True)["kind"])
    t = teacher.predict(x, verbose=0)["kind"]
    logs = both.fit(x, targets, batch_size=16, verbose=0).history
    assert logs["teacher_loss"][0] == pytest.approx((t * np.log(t / outputs)).sum(-1).mean(), rel=1e-3)
    with pytest.raises(ValueError, match="one for each of 2 outputs"):
        Distillation(student, teacher, weight=[1.0, 1.0, 1.0])


def subclass():
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.dense = keras.layers.Dense(3)

        def call(self, x):
            return self.dense(keras.ops.reshape(x, (-1, 36)))

    own = Own()
    own(np.zeros((1, 6, 6, 1), "float32"))
    return own


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0}, "`temperature` to be a positive number"),
        ({"weight": -1.0}, "Expected `weight` to be a number, 0 or more"),
        ({"feature_weight": -1.0}, "Expected `feature_weight`"),
        ({"features": {"mpa": "map"}}, "Did you mean 'map'?"),
        ({"features": {"classes": "classes"}}, "maps of one size"),
        ({"features": {"map": "classes"}, "feature_loss": "mse"}, "features of one shape"),
        ({"teacher": "a name"}, "Expected `teacher` to be a keras.Model"),
        ({"teacher": keras.Sequential([keras.layers.Dense(3)])}, "Expected a built model"),
    ],
)
def test_arguments_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace("?", r"\?")):
        Distillation(**{"student": binary_model(), "teacher": float_model(), **arguments})


def test_models_that_do_not_belong_together():
    student = binary_model()
    inputs = keras.Input((6, 6, 1))
    flat = keras.layers.Flatten()(inputs)
    with pytest.raises(ValueError, match=r"outputs of the student's shapes, \[\(None, 3\)\]"):
        Distillation(student, keras.Model(inputs, keras.layers.Dense(4)(flat)))
    with pytest.raises(ValueError, match="probabilities of one kind"):
        Distillation(binary_model(ends="sigmoid"), float_model(ends="softmax"))
    with pytest.raises(ValueError, match="not trained with the student"):
        Distillation(student, student)
    with pytest.raises(ValueError, match=r"whose layer 'activation.*' ends in 'relu'"):
        Distillation(student, float_model(ends="relu"))
    Distillation(student, float_model(ends="relu"), teacher_from_logits=True)
    own = subclass()
    with pytest.raises(ValueError, match="Received: 'own', a subclass"):
        Distillation(student, own)
    with pytest.raises(ValueError, match=r"keras.Model\(inputs, model\(inputs\)\)"):
        Distillation(student, own, teacher_from_logits=True)
    Distillation(student, keras.Model(inputs, own(inputs)), teacher_from_logits=True)


def test_the_pair_itself_is_not_saved_by_accident(tmp_path):
    both = Distillation(binary_model(), float_model())
    with pytest.raises(ValueError, match="take its attribute `student`"):
        keras.saving.save_model(both, tmp_path / "pair.keras")
    with pytest.raises(ValueError, match="take its attribute `student`"):
        both.get_config()


def test_the_form_of_outputs_is_found_behind_what_passes_them_on():
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    drop = keras.layers.Dropout(0.5)
    drop(inputs)  # a layer that is used twice
    for outputs, form in (
        (keras.layers.Dense(3)(inputs), "logits"),
        (keras.layers.BatchNormalization()(inputs), "logits"),
        (drop(inner(inputs)), "softmax"),
        (keras.layers.Reshape((3,))(keras.layers.Softmax()(keras.layers.Dense(3)(inputs))), "softmax"),
        (keras.ops.sigmoid(keras.layers.Dense(1)(inputs)), "sigmoid"),
    ):
        assert forms_of(keras.Model(inputs, outputs), None, "from_logits") == [form]
    assert forms_of(inner, True, "from_logits") == ["logits"]
    assert forms_of(inner, False, "from_logits") == ["softmax"]
