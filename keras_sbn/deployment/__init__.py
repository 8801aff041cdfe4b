"""From a `.tflite` file to a program on a device."""

from keras_sbn.deployment.android import write_android_project as write_android_project
from keras_sbn.deployment.preprocessing import fit_image as fit_image
from keras_sbn.deployment.web import write_web_page as write_web_page
