/* LceQuantize, LceDequantize and LceBMaxPool2d.
 *
 * A bit is 1 where the value is below 0 (float), below the zero point (int8) or false (bool): 0 of either
 * sign is +1. A row's last word is filled up with zeros. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node.h"

/* Shapes of a packed and an unpacked tensor agree, but for the last dimension's 32 values a word. */
static int packs(const sbn_tensor *packed, const sbn_tensor *unpacked, const char *name,
                 sbn_message *message) {
  int rank = unpacked->rank;
  if (sbn_elements(packed) == 0 || sbn_elements(unpacked) == 0 || rank < 1 || packed->rank != rank) {
    return sbn_fail(message, "%s: expected shapes of one rank and positive sizes", name);
  }
  for (int i = 0; i < rank - 1; ++i) {
    if (packed->shape[i] != unpacked->shape[i]) {
      return sbn_fail(message, "%s: expected equal sizes in dimension %d. Received: %d and %d", name, i,
                      packed->shape[i], unpacked->shape[i]);
    }
  }
  int32_t channels = unpacked->shape[rank - 1];
  if (packed->shape[rank - 1] != (channels + 31) / 32) {
    return sbn_fail(message, "%s: expected %d words for %d channels. Received: %d", name,
                    (channels + 31) / 32, channels, packed->shape[rank - 1]);
  }
  if (packed->type != TYPE_INT32) {
    return sbn_fail(message, "%s: expected bits in int32. Received: type %d", name, packed->type);
  }
  if (unpacked->type != TYPE_FLOAT32 && unpacked->type != TYPE_INT8 && unpacked->type != TYPE_BOOL) {
    return sbn_fail(message, "%s: expected float32, int8 or bool. Received: type %d", name,
                    unpacked->type);
  }
  return 1;
}

static void set_ports(sbn_node *node, const sbn_tensor *input, const sbn_tensor *output) {
  node->num_inputs = node->num_outputs = 1;
  node->inputs[0] = *input;
  node->outputs[0] = *output;
}

/* Rows of channels, and rows that one item of the loop over threads takes. */
static size_t rows_of(const sbn_tensor *tensor, int batch) {
  return (size_t)(sbn_elements(tensor) / tensor->shape[tensor->rank - 1]) * (size_t)batch;
}

typedef struct {
  sbn_node *node;
  const void *input;
  void *output;
  size_t rows, rows_per_item, channels;
} sbn_rows;

static void over_rows(sbn_node *node, const sbn_tensor *unpacked, int batch, const void *input,
                      void *output, void (*body)(void *, size_t, int)) {
  sbn_rows rows = {
      node, input, output, rows_of(unpacked, batch), 0, (size_t)unpacked->shape[unpacked->rank - 1]};
  size_t least = 16384 / rows.channels + 1;
  size_t share = rows.rows / (size_t)sbn_threads_count(node->threads) + 1;
  rows.rows_per_item = share > least ? share : least;
  sbn_threads_run(node->threads, (rows.rows + rows.rows_per_item - 1) / rows.rows_per_item, body, &rows);
}

static int8_t clipped(int64_t value) { return (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value); }

static void quantize_rows(void *context, size_t item, int thread) {
  (void)thread;
  sbn_rows *rows = context;
  sbn_node *node = rows->node;
  const sbn_instructions *use = node->instructions;
  int type = node->inputs[0].type;
  int64_t zero = type == TYPE_INT8 && node->inputs[0].quantized ? node->inputs[0].zero_point : 0;
  size_t first = item * rows->rows_per_item, channels = rows->channels, words = (channels + 31) / 32;
  size_t last = first + rows->rows_per_item < rows->rows ? first + rows->rows_per_item : rows->rows;
  uint32_t *out = (uint32_t *)rows->output + first * words;
  if (channels % 32 == 0 && type != TYPE_BOOL) {
    /* Rows without a rest are one long row. */
    words *= last - first;
    channels *= last - first;
    last = first + 1;
  }
  for (size_t row = first; row < last; ++row, out += words) {
    size_t offset = (row - first) * channels + first * rows->channels, whole = channels / 32;
    size_t rest = channels % 32;
    if (type == TYPE_FLOAT32) {
      const float *x = (const float *)rows->input + offset;
      float tail[32] = {0};
      use->pack_float(x, whole, out);
      if (rest != 0) {
        memcpy(tail, x + 32 * whole, rest * sizeof *x);
        use->pack_float(tail, 1, out + whole);
      }
    } else if (type == TYPE_INT8) {
      const int8_t *x = (const int8_t *)rows->input + offset;
      if (zero < -128) zero = -128; /* nothing is below -128 either */
      if (zero > 127) {
        for (size_t i = 0; i < words; ++i) out[i] = ~0u;
        if (rest != 0) out[whole] = (1u << rest) - 1;
        continue;
      }
      int8_t tail[32];
      use->pack_int8(x, (int8_t)zero, whole, out);
      if (rest != 0) {
        memset(tail, (int)zero, sizeof tail);
        memcpy(tail, x + 32 * whole, rest);
        use->pack_int8(tail, (int8_t)zero, 1, out + whole);
      }
    } else {
      const uint8_t *x = (const uint8_t *)rows->input + offset;
      for (size_t word = 0; word < words; ++word) {
        uint32_t bits = 0;
        for (size_t bit = 0; bit < 32 && 32 * word + bit < channels; ++bit) {
          bits |= (uint32_t)(x[32 * word + bit] == 0) << bit;
        }
        out[word] = bits;
      }
    }
  }
}

static void run_quantize(sbn_node *node, int batch, const void *const *inputs, void *const *outputs) {
  over_rows(node, &node->inputs[0], batch, inputs[0], outputs[0], quantize_rows);
}

int sbn_plan_quantize(sbn_node *node, const sbn_tensor *input, const sbn_tensor *output,
                      sbn_message *message) {
  if (!packs(output, input, "LceQuantize", message)) return 0;
  set_ports(node, input, output);
  node->run = run_quantize;
  snprintf(node->description, sizeof node->description, "LceQuantize %d channels",
           input->shape[input->rank - 1]);
  return 1;
}

static void dequantize_rows(void *context, size_t item, int thread) {
  (void)thread;
  sbn_rows *rows = context;
  const sbn_tensor *output = &rows->node->outputs[0];
  size_t first = item * rows->rows_per_item, channels = rows->channels, words = (channels + 31) / 32;
  size_t last = first + rows->rows_per_item < rows->rows ? first + rows->rows_per_item : rows->rows;
  int8_t int8_of[2] = {1, -1};
  if (output->type == TYPE_INT8 && output->quantized) {
    /* round(1 / scale) away from zero point, as LCE has it */
    double steps = 1.0f / output->scale;
    int64_t step = steps > 1e6 ? 1000000 : (int64_t)(steps + 0.5);
    int8_of[0] = clipped(output->zero_point + step);
    int8_of[1] = clipped(output->zero_point - step);
  }
  for (size_t row = first; row < last; ++row) {
    const uint32_t *in = (const uint32_t *)rows->input + row * words;
    for (size_t i = 0; i < channels; ++i) {
      uint32_t bit = in[i / 32] >> (i % 32) & 1;
      size_t at = row * channels + i;
      if (output->type == TYPE_FLOAT32) {
        ((float *)rows->output)[at] = bit ? -1.0f : 1.0f;
      } else if (output->type == TYPE_INT8) {
        ((int8_t *)rows->output)[at] = int8_of[bit];
      } else {
        ((uint8_t *)rows->output)[at] = !bit;
      }
    }
  }
}

static void run_dequantize(sbn_node *node, int batch, const void *const *inputs, void *const *outputs) {
  over_rows(node, &node->outputs[0], batch, inputs[0], outputs[0], dequantize_rows);
}

int sbn_plan_dequantize(sbn_node *node, const sbn_tensor *input, const sbn_tensor *output,
                        sbn_message *message) {
  if (!packs(input, output, "LceDequantize", message)) return 0;
  if (output->type == TYPE_INT8 && output->quantized && !(output->scale > 0)) {
    return sbn_fail(message, "LceDequantize: expected a positive scale. Received: %g", output->scale);
  }
  set_ports(node, input, output);
  node->run = run_dequantize;
  snprintf(node->description, sizeof node->description, "LceDequantize %d channels",
           output->shape[output->rank - 1]);
  return 1;
}

typedef struct {
  int32_t filter_height, filter_width, stride_height, stride_width, top, left;
} sbn_pool;

typedef struct {
  sbn_node *node;
  const uint32_t *input;
  uint32_t *output;
} sbn_pool_call;

static inline __attribute__((always_inline)) void and_row(uint32_t *out, const uint32_t *in,
                                                          size_t words) {
  for (size_t i = 0; i < words; ++i) out[i] &= in[i];
}

/* One row of the output. The largest of values of +-1 is -1 only where all are: bits are and-ed. */
static void pool_row(void *context, size_t item, int thread) {
  (void)thread;
  sbn_pool_call *call = context;
  const sbn_pool *pool = call->node->plan;
  const int32_t *in = call->node->inputs[0].shape, *out = call->node->outputs[0].shape;
  size_t words = (size_t)in[3], batch = item / (size_t)out[1];
  int32_t y = (int32_t)(item % (size_t)out[1]);
  int32_t first_y = y * pool->stride_height - pool->top, last_y = first_y + pool->filter_height;
  if (first_y < 0) first_y = 0;
  if (last_y > in[1]) last_y = in[1];
  uint32_t *row = call->output + item * (size_t)out[2] * words;
  for (int32_t x = 0; x < out[2]; ++x, row += words) {
    int32_t first_x = x * pool->stride_width - pool->left, last_x = first_x + pool->filter_width;
    if (first_x < 0) first_x = 0;
    if (last_x > in[2]) last_x = in[2];
    for (size_t i = 0; i < words; ++i) row[i] = ~0u;
    for (int32_t iy = first_y; iy < last_y; ++iy) {
      size_t line = (batch * (size_t)in[1] + (size_t)iy) * (size_t)in[2];
      for (int32_t ix = first_x; ix < last_x; ++ix)
        and_row(row, call->input + (line + (size_t)ix) * words, words);
    }
  }
}

static void run_pool(sbn_node *node, int batch, const void *const *inputs, void *const *outputs) {
  sbn_pool_call call = {node, inputs[0], outputs[0]};
  size_t rows = (size_t)batch * (size_t)node->outputs[0].shape[1];
  if (sbn_tensor_bytes(&node->inputs[0], batch) < 65536) {
    /* Less than it costs to wake a thread. */
    for (size_t row = 0; row < rows; ++row) pool_row(&call, row, 0);
  } else {
    sbn_threads_run(node->threads, rows, pool_row, &call);
  }
}

int sbn_plan_pool(sbn_node *node, const sbn_tensor *input, const sbn_tensor *output,
                  const sbn_pool_options *options, sbn_message *message) {
  const char *name = "LceBMaxPool2d";
  if (input->rank != 4 || output->rank != 4 || input->type != TYPE_INT32 || output->type != TYPE_INT32 ||
      sbn_elements(input) == 0 || sbn_elements(output) == 0) {
    return sbn_fail(message, "%s: expected maps of bits (rank 4, int32, positive sizes)", name);
  }
  int32_t height, width;
  sbn_pool pool = {0};
  if (!sbn_window(input->shape[1], options->filter_height, options->stride_height, 1, options->padding,
                  &height, &pool.top, name, message) ||
      !sbn_window(input->shape[2], options->filter_width, options->stride_width, 1, options->padding,
                  &width, &pool.left, name, message)) {
    return 0;
  }
  if (output->shape[0] != input->shape[0] || output->shape[1] != height || output->shape[2] != width ||
      output->shape[3] != input->shape[3]) {
    return sbn_fail(message, "%s: expected an output of %d x %d x %d words. Received: %d x %d x %d", name,
                    height, width, input->shape[3], output->shape[1], output->shape[2], output->shape[3]);
  }
  pool.filter_height = (int32_t)options->filter_height;
  pool.filter_width = (int32_t)options->filter_width;
  pool.stride_height = (int32_t)options->stride_height;
  pool.stride_width = (int32_t)options->stride_width;
  node->plan = malloc(sizeof pool);
  if (node->plan == NULL) return sbn_fail(message, "%s: out of memory", name);
  memcpy(node->plan, &pool, sizeof pool);
  node->free_plan = free;
  set_ports(node, input, output);
  node->run = run_pool;
  snprintf(node->description, sizeof node->description, "LceBMaxPool2d %d x %d / %d, %d words",
           pool.filter_height, pool.filter_width, pool.stride_height, input->shape[3]);
  return 1;
}
