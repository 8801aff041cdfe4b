/* A one-bit operator of a file: checked and planned once, then run. */
#ifndef SBN_NODE_H_
#define SBN_NODE_H_

#include <stddef.h>
#include <stdint.h>

#include "instructions.h"
#include "support.h"
#include "threads.h"

enum { SBN_MAX_RANK = 8, SBN_MAX_PORTS = 2 };

/* Codes of TFLite's schema. */
enum { TYPE_FLOAT32 = 0, TYPE_INT32 = 2, TYPE_BOOL = 6, TYPE_INT8 = 9 };
enum { PADDING_SAME = 0, PADDING_VALID = 1 };
enum { ACTIVATION_NONE = 0, ACTIVATION_RELU = 1, ACTIVATION_RELU_N1_TO_1 = 2, ACTIVATION_RELU6 = 3 };

/* A tensor of the file; `data` of a constant is its little-endian values, else NULL. */
typedef struct {
  int type, rank;
  int32_t shape[SBN_MAX_RANK];
  const uint8_t *data;
  size_t bytes;
  int quantized;
  size_t num_scales;
  float scale;
  int64_t zero_point;
} sbn_tensor;

typedef struct sbn_node sbn_node;
struct sbn_node {
  /* Set by the planner: inputs and outputs for a batch of one, and the function that computes them. */
  int num_inputs, num_outputs;
  sbn_tensor inputs[SBN_MAX_PORTS], outputs[SBN_MAX_PORTS];
  void (*run)(sbn_node *node, int batch, const void *const *inputs, void *const *outputs);
  void (*free_plan)(void *plan);
  void *plan;
  char description[128];

  /* Set by the model. */
  char code[48];
  int32_t tensor_of_input[SBN_MAX_PORTS], tensor_of_output[SBN_MAX_PORTS];
  int batch;
  double seconds;
  const sbn_instructions *instructions;
  sbn_threads *threads;
  sbn_message *message;
  const void *litert;
};

/* Number of elements of a shape, or 0 where it is not positive or too large to index with 31 bits. */
int64_t sbn_elements(const sbn_tensor *tensor);
int sbn_same_shape(const sbn_tensor *a, const sbn_tensor *b);

/* Bytes of an input or output for a batch. */
size_t sbn_tensor_bytes(const sbn_tensor *tensor, int batch);

/* Whether a batch is positive, and every input and output of it fits the memory. */
int sbn_batch_fits(const sbn_node *node, int batch);

/* Options of the operators. */
typedef struct {
  int64_t stride_height, stride_width, dilation_height, dilation_width;
  int64_t padding, pad_value, channels_in, activation;
} sbn_conv_options;

typedef struct {
  int64_t filter_height, filter_width, stride_height, stride_width, padding;
} sbn_pool_options;

/* What is computed after a convolution with float output: `y = conv * multiplier + bias`, then
 * `y + residual`, then an activation. */
typedef struct {
  const float *multiplier, *bias; /* C values each, or NULL for 1 and 0 */
  int has_residual, activation;
  int writes_float, writes_bits;
} sbn_tail;

/* Planners: check everything and set the first part of `node`. They return 0 with a message where the
 * operator is refused. `filter`, `multiplier`, `bias` and `thresholds` may be absent (NULL) where they
 * are not read. */
int sbn_plan_quantize(sbn_node *node, const sbn_tensor *input, const sbn_tensor *output,
                      sbn_message *message);
int sbn_plan_dequantize(sbn_node *node, const sbn_tensor *input, const sbn_tensor *output,
                        sbn_message *message);
int sbn_plan_pool(sbn_node *node, const sbn_tensor *input, const sbn_tensor *output,
                  const sbn_pool_options *options, sbn_message *message);
int sbn_plan_conv(sbn_node *node, const sbn_tensor *input, const sbn_tensor *filter,
                  const sbn_tensor *multiplier, const sbn_tensor *bias, const sbn_tensor *thresholds,
                  const sbn_tensor *output, const sbn_tensor *packed, const sbn_conv_options *options,
                  const sbn_tail *tail, int num_threads, sbn_message *message);

/* One dimension of a window: output size and padding before the map, as TFLite computes them. */
int sbn_window(int64_t size, int64_t window, int64_t stride, int64_t dilation, int64_t padding,
               int32_t *output, int32_t *before, const char *name, sbn_message *message);

#endif
