/* Runs a one-bit `.tflite` file in LiteRT, from C, and prints its first output. C++ programs do the same.
 *
 *     cc -I ../include -I LITERT examples/run_model.c src/ *.c -L LIBRARY -lLiteRt -lm -lpthread
 *     ./a.out model.tflite input.bin [threads]
 *
 * LITERT has the headers litert/c/ *.h of LiteRT 2.1.6 or later, LIBRARY has libLiteRt.so: the folder of
 * the Python package ai_edge_litert, or the Android library's jni folder. `input.bin` has the bytes of
 * the input. */
#include <stdio.h>
#include <stdlib.h>

#include "litert/c/litert_common.h"
#include "litert/c/litert_compiled_model.h"
#include "litert/c/litert_environment.h"
#include "litert/c/litert_environment_options.h"
#include "litert/c/litert_model.h"
#include "litert/c/litert_options.h"
#include "litert/c/litert_tensor_buffer.h"
#include "litert/c/litert_tensor_buffer_requirements.h"
#include "sbn_kernels.h"

static sbn_model *kernels;

/* Ends the program with what went wrong, in the kernels or in LiteRT. */
static void check(LiteRtStatus status, const char *what) {
  const char *message = kernels != NULL ? sbn_error(kernels) : NULL;
  if (status == kLiteRtStatusOk && message == NULL) return;
  fprintf(stderr, "%s: %s (LiteRT's status %d)\n", what, message ? message : "failed", (int)status);
  exit(1);
}

static void *read_file(const char *path, size_t *bytes) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    perror(path);
    exit(1);
  }
  fseek(file, 0, SEEK_END);
  long size = ftell(file);
  rewind(file);
  void *content = malloc(size > 0 ? (size_t)size : 1);
  if (content == NULL || fread(content, 1, (size_t)size, file) != (size_t)size) exit(1);
  fclose(file);
  *bytes = (size_t)size;
  return content;
}

/* A buffer for the first input or output. */
static LiteRtTensorBuffer buffer_for(LiteRtEnvironment environment, LiteRtModel model,
                                     LiteRtCompiledModel compiled, int is_input, size_t *bytes) {
  LiteRtSignature signature;
  LiteRtTensor tensor;
  LiteRtRankedTensorType type;
  LiteRtTensorBufferRequirements requirements;
  LiteRtTensorBuffer buffer;
  check(LiteRtGetModelSignature(model, 0, &signature), "signature");
  check(is_input ? LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor)
                 : LiteRtGetSignatureOutputTensorByIndex(signature, 0, &tensor),
        "tensor");
  check(LiteRtGetRankedTensorType(tensor, &type), "type");
  check(is_input ? LiteRtGetCompiledModelInputBufferRequirements(compiled, 0, 0, &requirements)
                 : LiteRtGetCompiledModelOutputBufferRequirements(compiled, 0, 0, &requirements),
        "requirements");
  check(LiteRtGetTensorBufferRequirementsBufferSize(requirements, bytes), "size");
  check(LiteRtCreateManagedTensorBuffer(environment, kLiteRtTensorBufferTypeHostMemory, &type, *bytes,
                                        &buffer),
        "buffer");
  return buffer;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "run_model MODEL.tflite INPUT.bin [THREADS]\n");
    return 2;
  }
  size_t file_bytes, image_bytes, bytes;
  void *file = read_file(argv[1], &file_bytes), *image = read_file(argv[2], &image_bytes), *memory;
  char error[256];

  /* The kernels read the file, and LiteRT is given theirs. */
  kernels = sbn_open(file, file_bytes, argc > 3 ? atoi(argv[3]) : 1, NULL, error, sizeof error);
  if (kernels == NULL) {
    fprintf(stderr, "%s: %s\n", argv[1], error);
    return 1;
  }
  const sbn_litert litert = SBN_LITERT;
  LiteRtEnvironment environment;
  LiteRtModel model;
  LiteRtOptions options;
  LiteRtCompiledModel compiled;
  const void *rewritten = sbn_file(kernels, &bytes);
  /* The processor alone: LiteRT's library for graphics units, where it is found, ends programs on a
   * Cortex-A53 or A72. And what is wrong, and nothing else, on standard error. */
  LiteRtEnvOption settings[2];
  settings[0].tag = kLiteRtEnvOptionTagAutoRegisterAccelerators;
  settings[1].tag = kLiteRtEnvOptionTagMinLoggerSeverity;
  settings[0].value.type = settings[1].value.type = kLiteRtAnyTypeInt;
  settings[0].value.int_value = kLiteRtHwAcceleratorCpu;
  settings[1].value.int_value = 3;
  check(LiteRtCreateEnvironment(2, settings, &environment), "environment");
  check(LiteRtCreateModelFromBuffer(environment, rewritten, bytes, &model), "model");
  check(LiteRtCreateOptions(&options), "options");
  check(LiteRtSetOptionsHardwareAccelerators(options, kLiteRtHwAcceleratorCpu), "accelerator");
  check((LiteRtStatus)sbn_register(kernels, &litert, options), "operators");
  check(LiteRtCreateCompiledModel(environment, model, options, &compiled), "compilation");

  LiteRtTensorBuffer input = buffer_for(environment, model, compiled, 1, &bytes);
  if (bytes < image_bytes) {
    fprintf(stderr, "%s: expected at most %zu bytes. Received: %zu\n", argv[2], bytes, image_bytes);
    return 1;
  }
  check(LiteRtLockTensorBuffer(input, &memory, kLiteRtTensorBufferLockModeWrite), "input");
  for (size_t i = 0; i < image_bytes; ++i) ((char *)memory)[i] = ((char *)image)[i];
  check(LiteRtUnlockTensorBuffer(input), "input");
  LiteRtTensorBuffer output = buffer_for(environment, model, compiled, 0, &bytes);
  check(LiteRtRunCompiledModel(compiled, 0, 1, &input, 1, &output), "run");
  check(LiteRtLockTensorBuffer(output, &memory, kLiteRtTensorBufferLockModeRead), "output");
  for (size_t i = 0; i < bytes / sizeof(float); ++i) printf("%.9g\n", ((float *)memory)[i]);
  check(LiteRtUnlockTensorBuffer(output), "output");
  fprintf(stderr, "%s\n", sbn_used_instruction_set(kernels));

  LiteRtDestroyTensorBuffer(input);
  LiteRtDestroyTensorBuffer(output);
  LiteRtDestroyCompiledModel(compiled);
  LiteRtDestroyOptions(options);
  LiteRtDestroyModel(model);
  LiteRtDestroyEnvironment(environment);
  sbn_close(kernels); /* last: LiteRT's model lies in its memory */
  free(file);
  free(image);
  return 0;
}
