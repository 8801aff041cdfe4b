// Classifies a picture with a .tflite file for the Larq Compute Engine, or with any other: prints the top
// classes and how long the network takes.
//
//   classify model.tflite photo.ppm labels.txt [low high]
//
// `low` and `high` are what 0 and 255 of the image become before the network sees them: 0 1 for a network
// trained on image / 255. A model that takes the 8-bit image needs neither.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "larq_compute_engine/tflite/kernels/lce_ops_register.h"
#include "preprocessing.h"
#include "tensorflow/lite/interpreter.h"
#include "tensorflow/lite/interpreter_builder.h"
#include "tensorflow/lite/kernels/register.h"
#include "tensorflow/lite/model_builder.h"

namespace {

constexpr int kThreads = 4;
constexpr int kRuns = 20;
constexpr int kShown = 5;

[[noreturn]] void Fail(const std::string& message) {
  std::cerr << "classify: " << message << std::endl;
  std::exit(2);
}

struct Picture {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;
};

// Reads the next number of a PPM header, past white space and comments.
int HeaderNumber(std::istream& file) {
  while (file >> std::ws && file.peek() == '#') {
    std::string comment;
    std::getline(file, comment);
  }
  int number = 0;
  file >> number;
  return number;
}

// Reads a binary PPM of 8 bits a value.
Picture ReadPicture(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) Fail("cannot open " + path);
  std::string magic(2, ' ');
  file.read(&magic[0], 2);
  Picture picture;
  picture.width = HeaderNumber(file);
  picture.height = HeaderNumber(file);
  const int largest = HeaderNumber(file);
  file.get();
  const bool sensible = picture.width > 0 && picture.height > 0 && picture.width < (1 << 15) &&
                        picture.height < (1 << 15);
  if (magic != "P6" || largest != 255 || !sensible) {
    Fail("expected a binary PPM of 8 bits a value, such as `djpeg photo.jpg > photo.ppm` writes. Received: " +
         path);
  }
  picture.rgb.resize(static_cast<size_t>(3) * picture.width * picture.height);
  if (!file.read(reinterpret_cast<char*>(picture.rgb.data()),
                 static_cast<std::streamsize>(picture.rgb.size()))) {
    Fail(path + " ends too soon");
  }
  return picture;
}

std::vector<std::string> ReadLabels(const std::string& path) {
  std::ifstream file(path);
  if (!file) Fail("cannot open " + path);
  std::vector<std::string> labels;
  for (std::string line; std::getline(file, line);) labels.push_back(line);
  return labels;
}

int8_t Quantized(double value, const TfLiteTensor& tensor, int least, int most) {
  const double stored = std::floor(value / tensor.params.scale + 0.5) + tensor.params.zero_point;
  return static_cast<int8_t>(std::min<double>(std::max<double>(stored, least), most));
}

// Writes what the input is for each value of the image.
void Fill(TfLiteTensor& input, const std::vector<uint8_t>& image, double low, double high) {
  for (size_t i = 0; i < image.size(); ++i) {
    const double value = low + image[i] * (high - low) / 255;
    if (input.type == kTfLiteFloat32) {
      input.data.f[i] = static_cast<float>(value);
    } else if (input.type == kTfLiteInt8) {
      input.data.int8[i] = Quantized(value, input, -128, 127);
    } else if (input.params.scale == 0 || (input.params.scale == 1 && input.params.zero_point == 0)) {
      input.data.uint8[i] = image[i];
    } else {
      const double stored = std::floor(value / input.params.scale + 0.5) + input.params.zero_point;
      input.data.uint8[i] = static_cast<uint8_t>(std::min(std::max(stored, 0.0), 255.0));
    }
  }
}

float Score(const TfLiteTensor& output, int index) {
  if (output.type == kTfLiteFloat32) return output.data.f[index];
  const int stored = output.type == kTfLiteInt8 ? output.data.int8[index] : output.data.uint8[index];
  return output.params.scale * static_cast<float>(stored - output.params.zero_point);
}

bool IsKnown(TfLiteType type) {
  return type == kTfLiteFloat32 || type == kTfLiteInt8 || type == kTfLiteUInt8;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 6) Fail("usage: classify model.tflite photo.ppm labels.txt [low high]");
  const double low = argc == 6 ? std::atof(argv[4]) : 0, high = argc == 6 ? std::atof(argv[5]) : 255;

  const auto model = tflite::FlatBufferModel::BuildFromFile(argv[1]);
  if (!model) Fail(std::string("cannot read the model ") + argv[1]);
  tflite::ops::builtin::BuiltinOpResolver resolver;
  compute_engine::tflite::RegisterLCECustomOps(&resolver);
  std::unique_ptr<tflite::Interpreter> interpreter;
  tflite::InterpreterBuilder(*model, resolver)(&interpreter, kThreads);
  if (!interpreter || interpreter->AllocateTensors() != kTfLiteOk) Fail("the interpreter refuses the model");

  TfLiteTensor& input = *interpreter->input_tensor(0);
  const TfLiteTensor& output = *interpreter->output_tensor(0);
  if (input.dims->size != 4 || !IsKnown(input.type) || !IsKnown(output.type)) {
    Fail("expected a model of images, of float32 or 8-bit values");
  }
  const int height = input.dims->data[1], width = input.dims->data[2], channels = input.dims->data[3];
  const std::vector<std::string> labels = ReadLabels(argv[3]);
  int classes = 1;
  for (int i = 0; i < output.dims->size; ++i) classes *= output.dims->data[i];
  if (static_cast<int>(labels.size()) != classes) {
    Fail("expected " + std::to_string(classes) + " labels. Received: " + std::to_string(labels.size()));
  }

  const Picture picture = ReadPicture(argv[2]);
  Fill(input, keras_sbn::FitImage(picture.rgb, picture.width, picture.height, width, height, channels), low,
       high);
  std::vector<double> milliseconds;
  for (int run = 0; run <= kRuns; ++run) {
    const auto started = std::chrono::steady_clock::now();
    if (interpreter->Invoke() != kTfLiteOk) Fail("the interpreter cannot run the model");
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - started;
    if (run > 0) milliseconds.push_back(taken.count());
  }

  std::vector<int> order(static_cast<size_t>(classes));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return Score(output, a) > Score(output, b); });
  for (int i = 0; i < std::min(kShown, classes); ++i) {
    std::cout << Score(output, order[i]) << "  " << labels[order[i]] << "\n";
  }
  std::nth_element(milliseconds.begin(), milliseconds.begin() + kRuns / 2, milliseconds.end());
  std::cout << milliseconds[kRuns / 2] << " ms, the median of " << kRuns << " runs" << std::endl;
  return 0;
}
