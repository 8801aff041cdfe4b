"""Whole trainings from settings: what `keras-sbn train` runs, and what a script can call."""

from keras_sbn.training.result import TrainResult as TrainResult
from keras_sbn.training.run import train as train
from keras_sbn.training.settings import TrainSettings as TrainSettings
