"""Image data sets for training, on every backend: no TensorFlow is needed."""

from keras_sbn.data.augmentation import Augmentation as Augmentation
from keras_sbn.data.batches import Batches as Batches
from keras_sbn.data.dataset import ImageDataset as ImageDataset
from keras_sbn.data.dataset import Split as Split
from keras_sbn.data.load import load as load
