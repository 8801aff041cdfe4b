"""Sharpness schedules: functions of the progress of training, serializable like Keras's own."""

from keras_sbn.schedules.adaptive import Adaptive as Adaptive
from keras_sbn.schedules.base import SharpnessSchedule as SharpnessSchedule
from keras_sbn.schedules.cosine import Cosine as Cosine
from keras_sbn.schedules.exponential import Exponential as Exponential
from keras_sbn.schedules.linear import Linear as Linear
from keras_sbn.schedules.piecewise import Piecewise as Piecewise
