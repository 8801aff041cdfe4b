// Classifies a picture with a one-bit .tflite file, or with any other: prints the top classes and how long
// the network takes. LiteRT runs it, with the operators of keras-sbn-kernels.
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
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "litert/c/litert_common.h"
#include "litert/c/litert_compiled_model.h"
#include "litert/c/litert_environment.h"
#include "litert/c/litert_environment_options.h"
#include "litert/c/litert_model.h"
#include "litert/c/litert_options.h"
#include "litert/c/litert_tensor_buffer.h"
#include "litert/c/litert_tensor_buffer_requirements.h"
#include "preprocessing.h"
#include "sbn_kernels.h"

namespace {

constexpr int kThreads = 4;
constexpr int kRuns = 20;
constexpr int kErrorsOnly = 3;
constexpr size_t kShown = 5;

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

sbn_model* kernels = nullptr;

// Ends the program with what went wrong, in the kernels or in LiteRT.
void Check(LiteRtStatus status, const std::string& what) {
  const char* message = kernels != nullptr ? sbn_error(kernels) : nullptr;
  if (message != nullptr) Fail(what + ": " + message);
  if (status != kLiteRtStatusOk) Fail(what + ": LiteRT's status " + std::to_string(status));
}

// An input or output: its type, its buffer, and the values of it.
class Port {
 public:
  Port(LiteRtEnvironment environment, LiteRtTensor tensor, LiteRtTensorBufferRequirements requirements) {
    size_t bytes = 0;
    LiteRtQuantizationTypeId kind = kLiteRtQuantizationNone;
    Check(LiteRtGetRankedTensorType(tensor, &type_), "the type of a tensor");
    Check(LiteRtGetQuantizationTypeId(tensor, &kind), "the type of a tensor");
    if (kind == kLiteRtQuantizationPerTensor) {
      Check(LiteRtGetPerTensorQuantization(tensor, &quantization_), "the scale of a tensor");
    }
    if (type_.element_type != kLiteRtElementTypeFloat32 && type_.element_type != kLiteRtElementTypeInt8 &&
        type_.element_type != kLiteRtElementTypeUInt8) {
      Fail("expected a model of float32 or 8-bit values");
    }
    for (unsigned i = 0; i < type_.layout.rank; ++i) {
      if (type_.layout.dimensions[i] < 1) Fail("expected a model of fixed sizes");
      size_ *= type_.layout.dimensions[i];
    }
    Check(LiteRtGetTensorBufferRequirementsBufferSize(requirements, &bytes), "the size of a tensor");
    Check(LiteRtCreateManagedTensorBuffer(environment, kLiteRtTensorBufferTypeHostMemory, &type_, bytes,
                                          &buffer_),
          "the memory of a tensor");
  }
  ~Port() { LiteRtDestroyTensorBuffer(buffer_); }
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  LiteRtTensorBuffer buffer() const { return buffer_; }
  unsigned rank() const { return type_.layout.rank; }
  int dimension(int index) const { return type_.layout.dimensions[index]; }
  int size() const { return size_; }

  // Writes what the input is for each value of the image.
  void Fill(const std::vector<uint8_t>& image, double low, double high) {
    void* memory = Lock(kLiteRtTensorBufferLockModeWrite);
    const bool is_image = type_.element_type == kLiteRtElementTypeUInt8 &&
                          (quantization_.scale == 0 || (quantization_.scale == 1 && quantization_.zero_point == 0));
    for (size_t i = 0; i < image.size(); ++i) {
      const double value = low + image[i] * (high - low) / 255;
      if (type_.element_type == kLiteRtElementTypeFloat32) {
        static_cast<float*>(memory)[i] = static_cast<float>(value);
      } else if (type_.element_type == kLiteRtElementTypeInt8) {
        static_cast<int8_t*>(memory)[i] = static_cast<int8_t>(Stored(value, -128, 127));
      } else {
        static_cast<uint8_t*>(memory)[i] =
            is_image ? image[i] : static_cast<uint8_t>(Stored(value, 0, 255));
      }
    }
    Check(LiteRtUnlockTensorBuffer(buffer_), "an input");
  }

  std::vector<double> Scores() {
    const void* memory = Lock(kLiteRtTensorBufferLockModeRead);
    std::vector<double> scores(static_cast<size_t>(size_));
    for (size_t i = 0; i < scores.size(); ++i) {
      if (type_.element_type == kLiteRtElementTypeFloat32) {
        scores[i] = static_cast<const float*>(memory)[i];
      } else {
        const int stored = type_.element_type == kLiteRtElementTypeInt8
                               ? static_cast<const int8_t*>(memory)[i]
                               : static_cast<const uint8_t*>(memory)[i];
        scores[i] = quantization_.scale * static_cast<double>(stored - quantization_.zero_point);
      }
    }
    Check(LiteRtUnlockTensorBuffer(buffer_), "an output");
    return scores;
  }

 private:
  void* Lock(LiteRtTensorBufferLockMode mode) {
    void* memory = nullptr;
    Check(LiteRtLockTensorBuffer(buffer_, &memory, mode), "the memory of a tensor");
    return memory;
  }
  double Stored(double value, double least, double most) const {
    const double stored = std::floor(value / quantization_.scale + 0.5) + static_cast<double>(quantization_.zero_point);
    return std::min(std::max(stored, least), most);
  }

  LiteRtRankedTensorType type_{};
  LiteRtQuantizationPerTensor quantization_{0, 0};
  LiteRtTensorBuffer buffer_ = nullptr;
  int size_ = 1;
};

// A model of one input and one output.
class Network {
 public:
  explicit Network(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) Fail("cannot open " + path);
    const std::vector<char> content{std::istreambuf_iterator<char>(file), {}};
    char error[256];
    // The kernels read the file, and LiteRT is given theirs.
    kernels = sbn_open(content.data(), content.size(), kThreads, nullptr, error, sizeof error);
    if (kernels == nullptr) Fail(path + ": " + error);
    size_t bytes = 0;
    const void* rewritten = sbn_file(kernels, &bytes);
    const sbn_litert litert = SBN_LITERT;
    // The processor alone: LiteRT's library for graphics units, where it is found, ends programs on a
    // Cortex-A53 or A72. And what is wrong, and nothing else, on standard error.
    LiteRtEnvOption environment[2] = {};
    environment[0].tag = kLiteRtEnvOptionTagAutoRegisterAccelerators;
    environment[0].value.int_value = kLiteRtHwAcceleratorCpu;
    environment[1].tag = kLiteRtEnvOptionTagMinLoggerSeverity;
    environment[1].value.int_value = kErrorsOnly;
    environment[0].value.type = environment[1].value.type = kLiteRtAnyTypeInt;
    Check(LiteRtCreateEnvironment(2, environment, &environment_), "LiteRT");
    Check(LiteRtCreateModelFromBuffer(environment_, rewritten, bytes, &model_), path);
    Check(LiteRtCreateOptions(&options_), "LiteRT's options");
    Check(LiteRtSetOptionsHardwareAccelerators(options_, kLiteRtHwAcceleratorCpu), "LiteRT's options");
    Check(static_cast<LiteRtStatus>(sbn_register(kernels, &litert, options_)), "the one-bit operators");
    Check(LiteRtCreateCompiledModel(environment_, model_, options_, &compiled_), path);
    LiteRtSignature signature;
    LiteRtTensor tensor;
    LiteRtTensorBufferRequirements requirements;
    Check(LiteRtGetModelSignature(model_, 0, &signature), path);
    Check(LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor), path);
    Check(LiteRtGetCompiledModelInputBufferRequirements(compiled_, 0, 0, &requirements), path);
    input_ = new Port(environment_, tensor, requirements);
    Check(LiteRtGetSignatureOutputTensorByIndex(signature, 0, &tensor), path);
    Check(LiteRtGetCompiledModelOutputBufferRequirements(compiled_, 0, 0, &requirements), path);
    output_ = new Port(environment_, tensor, requirements);
  }
  ~Network() {
    delete input_;
    delete output_;
    LiteRtDestroyCompiledModel(compiled_);
    LiteRtDestroyOptions(options_);
    LiteRtDestroyModel(model_);
    LiteRtDestroyEnvironment(environment_);
    sbn_close(kernels);  // last: LiteRT's model lies in its memory
    kernels = nullptr;
  }
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  Port& input() { return *input_; }
  Port& output() { return *output_; }

  void Run() {
    LiteRtTensorBuffer in = input_->buffer(), out = output_->buffer();
    Check(LiteRtRunCompiledModel(compiled_, 0, 1, &in, 1, &out), "running the model");
  }

 private:
  LiteRtEnvironment environment_ = nullptr;
  LiteRtModel model_ = nullptr;
  LiteRtOptions options_ = nullptr;
  LiteRtCompiledModel compiled_ = nullptr;
  Port* input_ = nullptr;
  Port* output_ = nullptr;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 6) Fail("usage: classify model.tflite photo.ppm labels.txt [low high]");
  const double low = argc == 6 ? std::atof(argv[4]) : 0, high = argc == 6 ? std::atof(argv[5]) : 255;

  Network network(argv[1]);
  Port& input = network.input();
  if (input.rank() != 4) Fail("expected a model of images");
  const int height = input.dimension(1), width = input.dimension(2), channels = input.dimension(3);
  const std::vector<std::string> labels = ReadLabels(argv[3]);
  const int classes = network.output().size();
  if (static_cast<int>(labels.size()) != classes) {
    Fail("expected " + std::to_string(classes) + " labels. Received: " + std::to_string(labels.size()));
  }

  const Picture picture = ReadPicture(argv[2]);
  input.Fill(keras_sbn::FitImage(picture.rgb, picture.width, picture.height, width, height, channels), low,
             high);
  std::vector<double> milliseconds;
  for (int run = 0; run <= kRuns; ++run) {
    const auto started = std::chrono::steady_clock::now();
    network.Run();
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - started;
    if (run > 0) milliseconds.push_back(taken.count());
  }

  const std::vector<double> scores = network.output().Scores();
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  for (size_t i = 0; i < order.size() && i < kShown; ++i) {
    std::cout << scores[order[i]] << "  " << labels[order[i]] << "\n";
  }
  std::nth_element(milliseconds.begin(), milliseconds.begin() + kRuns / 2, milliseconds.end());
  std::cout << milliseconds[kRuns / 2] << " ms, the median of " << kRuns << " runs, "
            << sbn_used_instruction_set(kernels) << std::endl;
  return 0;
}
