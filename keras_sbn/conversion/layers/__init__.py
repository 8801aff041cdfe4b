"""How layers are written, one family a file; importing this registers them."""

from keras_sbn.conversion.layers import activations as activations
from keras_sbn.conversion.layers import linear as linear
from keras_sbn.conversion.layers import merging as merging
from keras_sbn.conversion.layers import moving as moving
from keras_sbn.conversion.layers import normalization as normalization
from keras_sbn.conversion.layers import operations as operations
from keras_sbn.conversion.layers import pooling as pooling
from keras_sbn.conversion.layers import shapes as shapes
from keras_sbn.conversion.layers import transposed as transposed
