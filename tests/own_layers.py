"""Layers, operations and models of one's own, as users write them."""

import keras

from keras_sbn import layers

K = keras.layers
ops = keras.ops


class Block(K.Layer):
    """What users write: layers made in the constructor, and a call that passes its mode on."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.SelfBinarizingConv2D(filters, 3, padding="same")
        self.normalization = layers.BinaryBatchNormalization()
        self.sign = layers.SelfBinarizingActivation()
        self.drop = K.Dropout(0.5)

    def call(self, inputs, training=None):
        x = self.normalization(self.conv(inputs), training=training)
        return self.drop(self.sign(x), training=training)


class BuiltBlock(Block):
    """Its layers are made by `build`."""

    def __init__(self, filters, **kwargs):
        K.Layer.__init__(self, **kwargs)
        self.filters = filters

    def build(self, shape):
        Block.__init__(self, self.filters, name=self.name)
        self.conv.build(shape)
        shape = self.conv.compute_output_shape(shape)
        self.normalization.build(shape)
        self.sign.build(shape)


class Stage(K.Layer):
    """Blocks in a block, in a loop."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Block(filters, name=f"{self.name}_{i}") for i in range(2)]

    def call(self, x, training=False):
        for block in self.blocks:
            x = block(x, training=training)
        return x


class Residual(K.Layer):
    """A sum of what several layers give, one of them called twice."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.SelfBinarizingConv2D(filters, 3, padding="same", binarize_input=True)
        self.normalization = layers.BinaryBatchNormalization()
        self.projection = K.Conv2D(filters, 1)

    def call(self, x):
        shortcut = self.projection(x)
        y = ops.add(self.normalization(self.conv(x)), shortcut)
        return self.projection(y) + y if x.shape[-1] == y.shape[-1] else y


class Scale(K.Layer):
    """A scale a channel on the right, on the left, or by a function."""

    def __init__(self, how="right", **kwargs):
        super().__init__(**kwargs)
        self.how = how

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")

    def call(self, x):
        if self.how == "left":
            return self.gamma * x
        return x * self.gamma if self.how == "right" else ops.multiply(self.gamma, x)


class LearnedShift(K.Layer):
    """The RSign and RPReLU of ReActNet."""

    def build(self, shape):
        self.before = self.add_weight(shape=(1, 1, shape[-1]), initializer="ones", name="before")
        self.slope = self.add_weight(shape=(shape[-1],), initializer="ones", name="slope")
        self.after = self.add_weight(shape=(shape[-1],), initializer="zeros", name="after")

    def call(self, x):
        x = x - self.before
        return ops.maximum(x, 0.0) + self.slope * ops.minimum(x, 0.0) + self.after


class Attention(K.Layer):
    """Squeeze and excite: two dense layers, a mean and a product."""

    def __init__(self, channels, **kwargs):
        super().__init__(**kwargs)
        self.squeeze, self.excite = K.Dense(2, activation="relu"), K.Dense(channels, "sigmoid")

    def call(self, x):
        scale = self.excite(self.squeeze(ops.mean(x, axis=(1, 2))))
        return x * ops.reshape(scale, (-1, 1, 1, scale.shape[-1]))


class TwoOutputs(K.Layer):
    def call(self, x):
        return {"twice": 2 * x, "same": x}


class HardSwish(keras.Operation):
    """An operation is no layer, and has no mode."""

    def call(self, x):
        return x * ops.relu6(x + 3) / 6

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


class Network(keras.Model):
    def __init__(self):
        super().__init__(name="network")
        self.stage, self.shift = Stage(4), LearnedShift()
        self.flatten, self.head = K.Flatten(), layers.SelfBinarizingDense(3, binarize_input=True)
        self.normalization = K.BatchNormalization()

    def call(self, images, training=False):
        x = self.shift(self.stage(images, training=training))
        return self.normalization(self.head(self.flatten(x)), training=training)


#: What makes one, by name, for images of three channels.
PARTS = {
    "block": lambda: Block(4),
    "built-block": lambda: BuiltBlock(4),
    "stage": lambda: Stage(4),
    "residual": lambda: Residual(4),
    "scale": Scale,
    "scale-left": lambda: Scale("left"),
    "scale-function": lambda: Scale("function"),
    "shift": LearnedShift,
    "attention": lambda: Attention(3),
    "hard-swish": HardSwish,
    "lambda": lambda: K.Lambda(lambda x: ops.tanh(x) - 0.5),
    "lambda-arguments": lambda: K.Lambda(lambda x, by: by * x, arguments={"by": 0.25}),
}
