/* LceBconv2d.
 *
 * Of K products of +-1 a sum has p of -1, so it is K - 2 p, and p is a population count. A border of +1
 * is a border of zero bits. A border of 0 counts as +1 first; the sum of the weights that lie on it is
 * then taken from K, in integers, so the sum is exact: `base - 2 p`, where `base` depends on how the
 * window lies on the border.
 *
 * Kernels are laid out again when the file is opened, not in the file: the file stays LCE's, and one
 * layout serves every instruction set (instructions.h). The bits under the windows of a few pixels are
 * gathered into rows (not for 1 x 1 windows, which are rows already), all channels meet these rows while
 * they are in the first cache, eight pixels and 32 channels at a time. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "node.h"

enum { MOST_PIXELS = 32, PATCH_BYTES = 49152 };

typedef struct {
  /* Geometry. */
  int32_t height, width, input_words, output_height, output_width, channels;
  int32_t groups, group_words, group_channels, blocks; /* blocks of 32 channels in a group */
  int32_t filter_height, filter_width, stride_height, stride_width, dilation_height, dilation_width;
  int32_t top, left;
  size_t words; /* of the window */
  int32_t products;
  int is_row, zero_border;
  size_t chunk; /* pixels gathered at a time */

  uint32_t *weights;   /* [groups][blocks][words][32] */
  int32_t *thresholds; /* [groups][blocks][32], as everything below */
  float *multiplier, *bias;
  int32_t low, high;
  /* How windows lie on the border: rows and columns of the output by kind, and `base` for each pair of
   * kinds. */
  int32_t *row_kind, *column_kind, row_kinds, column_kinds;
  int32_t *kind; /* of each position of the output, row kind * column_kinds + column kind */
  int32_t *base; /* [row_kinds][column_kinds][groups * blocks * 32] */

  int output_type;
  sbn_tail tail;
  uint32_t *patches; /* [threads][chunk][words] */
} sbn_conv;

static void free_conv(void *memory) {
  sbn_conv *conv = memory;
  sbn_free(conv->weights);
  sbn_free(conv->thresholds);
  sbn_free(conv->multiplier);
  sbn_free(conv->bias);
  sbn_free(conv->row_kind);
  sbn_free(conv->column_kind);
  sbn_free(conv->kind);
  sbn_free(conv->base);
  sbn_free(conv->patches);
  sbn_free(conv);
}

static size_t lanes_of(const sbn_conv *conv) {
  return (size_t)conv->groups * (size_t)conv->blocks * SBN_LANES;
}

/* Where channel `channel` stands among the lanes. */
static size_t lane_of(const sbn_conv *conv, int32_t channel) {
  int32_t group = channel / conv->group_channels, rest = channel % conv->group_channels;
  return ((size_t)group * (size_t)conv->blocks) * SBN_LANES + (size_t)rest;
}

static uint32_t word_at(const uint8_t *data, size_t index) {
  uint32_t value;
  memcpy(&value, data + 4 * index, 4);
  return value;
}

static float float_at(const uint8_t *data, size_t index) {
  float value;
  memcpy(&value, data + 4 * index, 4);
  return value;
}

static void lay_out(sbn_conv *conv, const sbn_tensor *filter) {
  for (int32_t channel = 0; channel < conv->channels; ++channel) {
    size_t lane = lane_of(conv, channel);
    uint32_t *block = conv->weights + lane / SBN_LANES * conv->words * SBN_LANES + lane % SBN_LANES;
    for (size_t word = 0; word < conv->words; ++word) {
      block[word * SBN_LANES] = word_at(filter->data, (size_t)channel * conv->words + word);
    }
  }
}

/* Whether tap `tap` of a window at `start` lies on the border. */
static int outside(int64_t start, int32_t tap, int32_t dilation, int32_t size) {
  int64_t at = start + (int64_t)tap * dilation;
  return at < 0 || at >= size;
}

/* Gives outputs of one dimension whose windows have the same taps on the border the same kind. */
static int32_t find_kinds(int32_t *kind, int32_t *first_of_kind, int32_t count, int32_t stride,
                          int32_t before, int32_t window, int32_t dilation, int32_t size) {
  int32_t kinds = 0;
  for (int32_t i = 0; i < count; ++i) {
    int32_t found = 0;
    for (; found < kinds; ++found) {
      int same = 1;
      for (int32_t tap = 0; tap < window && same; ++tap) {
        same = outside((int64_t)i * stride - before, tap, dilation, size) ==
               outside((int64_t)first_of_kind[found] * stride - before, tap, dilation, size);
      }
      if (same) break;
    }
    if (found == kinds) first_of_kind[kinds++] = i;
    kind[i] = found;
  }
  return kinds;
}

static int plan_border(sbn_conv *conv, sbn_message *message) {
  size_t lanes = lanes_of(conv), rows = (size_t)conv->output_height, columns = (size_t)conv->output_width;
  conv->row_kind = sbn_allocate(2 * rows, sizeof *conv->row_kind);
  conv->column_kind = sbn_allocate(2 * columns, sizeof *conv->column_kind);
  if (conv->row_kind == NULL || conv->column_kind == NULL)
    return sbn_fail(message, "LceBconv2d: out of memory");
  int32_t *first_row = conv->row_kind + rows, *first_column = conv->column_kind + columns;
  conv->row_kinds = conv->column_kinds = 1;
  if (conv->zero_border) {
    conv->row_kinds = find_kinds(conv->row_kind, first_row, conv->output_height, conv->stride_height,
                                 conv->top, conv->filter_height, conv->dilation_height, conv->height);
    conv->column_kinds =
        find_kinds(conv->column_kind, first_column, conv->output_width, conv->stride_width, conv->left,
                   conv->filter_width, conv->dilation_width, conv->width);
  }
  conv->base =
      sbn_allocate((size_t)conv->row_kinds * (size_t)conv->column_kinds * lanes, sizeof *conv->base);
  conv->kind = sbn_allocate(rows * columns, sizeof *conv->kind);
  if (conv->base == NULL || conv->kind == NULL) return sbn_fail(message, "LceBconv2d: out of memory");
  for (size_t i = 0; i < rows * columns; ++i) {
    conv->kind[i] = conv->row_kind[i / columns] * conv->column_kinds + conv->column_kind[i % columns];
  }
  for (int32_t row = 0; row < conv->row_kinds; ++row) {
    for (int32_t column = 0; column < conv->column_kinds; ++column) {
      int32_t *base = conv->base + ((size_t)row * (size_t)conv->column_kinds + (size_t)column) * lanes;
      for (size_t lane = 0; lane < lanes; ++lane) base[lane] = conv->products;
      if (!conv->zero_border) continue;
      int64_t y = (int64_t)first_row[row] * conv->stride_height - conv->top;
      int64_t x = (int64_t)first_column[column] * conv->stride_width - conv->left;
      for (int32_t ky = 0; ky < conv->filter_height; ++ky) {
        for (int32_t kx = 0; kx < conv->filter_width; ++kx) {
          if (!outside(y, ky, conv->dilation_height, conv->height) &&
              !outside(x, kx, conv->dilation_width, conv->width)) {
            continue;
          }
          size_t tap = ((size_t)ky * (size_t)conv->filter_width + (size_t)kx) * (size_t)conv->group_words;
          int32_t weights_of_tap = conv->products / (conv->filter_height * conv->filter_width);
          for (size_t lane = 0; lane < lanes; ++lane) {
            const uint32_t *block =
                conv->weights + lane / SBN_LANES * conv->words * SBN_LANES + lane % SBN_LANES;
            int32_t negative = 0;
            for (size_t word = 0; word < (size_t)conv->group_words; ++word) {
              negative += __builtin_popcount(block[(tap + word) * SBN_LANES]);
            }
            base[lane] -= weights_of_tap - 2 * negative;
          }
        }
      }
    }
  }
  return 1;
}

/* ---- Running ---- */

typedef struct {
  sbn_node *node;
  int batch;
  const uint32_t *input;
  const float *residual;
  void *output;
  uint32_t *packed;
  size_t pixels, chunk, chunks, parts;
} sbn_call;

static inline void copy_words(uint32_t *out, const uint32_t *in, size_t words) {
  size_t i = 0;
  for (; i + 4 <= words; i += 4) memcpy(out + i, in + i, 16);
  for (; i < words; ++i) out[i] = in[i];
}

/* The bits under the window of one pixel. */
static void gather(const sbn_conv *conv, const uint32_t *input, size_t pixel, int32_t group,
                   uint32_t *out) {
  size_t map = (size_t)conv->output_height * (size_t)conv->output_width;
  size_t words = (size_t)conv->group_words, rest = pixel % map;
  const uint32_t *image =
      input + pixel / map * (size_t)conv->height * (size_t)conv->width * (size_t)conv->input_words;
  int32_t y0 = (int32_t)(rest / (size_t)conv->output_width) * conv->stride_height - conv->top;
  int32_t x0 = (int32_t)(rest % (size_t)conv->output_width) * conv->stride_width - conv->left;
  int64_t last_x = (int64_t)x0 + (int64_t)(conv->filter_width - 1) * conv->dilation_width;
  int whole = conv->groups == 1 && conv->dilation_width == 1 && x0 >= 0 && last_x < conv->width;
  size_t row_words = (size_t)conv->filter_width * words;
  for (int32_t ky = 0; ky < conv->filter_height; ++ky, out += row_words) {
    int64_t y = (int64_t)y0 + (int64_t)ky * conv->dilation_height;
    if (y < 0 || y >= conv->height) {
      memset(out, 0, row_words * sizeof *out);
      continue;
    }
    const uint32_t *line = image + (size_t)y * (size_t)conv->width * (size_t)conv->input_words;
    if (whole) {
      copy_words(out, line + (size_t)x0 * words, row_words);
      continue;
    }
    for (int32_t kx = 0; kx < conv->filter_width; ++kx) {
      int64_t x = (int64_t)x0 + (int64_t)kx * conv->dilation_width;
      uint32_t *to = out + (size_t)kx * words;
      if (x < 0 || x >= conv->width) {
        memset(to, 0, words * sizeof *to);
      } else {
        copy_words(to, line + (size_t)x * (size_t)conv->input_words + (size_t)group * words, words);
      }
    }
  }
}

/* Writes words of `lanes` bits each, for channels that begin at `channel`. */
static void put_bits(const sbn_conv *conv, const uint32_t *bits, int pixels, int32_t channel, int lanes,
                     uint32_t *out, size_t stride) {
  uint32_t keep = lanes == 32 ? ~0u : (1u << lanes) - 1;
  int shift = channel % 32;
  for (int pixel = 0; pixel < pixels; ++pixel) {
    uint32_t *word = out + (size_t)pixel * stride + channel / 32;
    uint32_t value = bits[pixel] & keep;
    if (conv->groups == 1) {
      *word = value;
    } else {
      *word |= value << shift;
      if (shift + lanes > 32) word[1] |= value >> (32 - shift);
    }
  }
}

static int8_t int8_of(float y) {
  float whole = truncf(y), rest = y - whole;
  if (rest >= 0.5f) whole += 1;
  if (rest <= -0.5f) whole -= 1;
  return (int8_t)(whole < -128 ? -128 : whole > 127 ? 127 : whole);
}

/* What follows the sums of up to SBN_PIXELS pixels and one block of channels. */
static void finish(const sbn_call *call, const int32_t *sums, size_t pixel, int pixels, size_t lane,
                   int32_t channel, int lanes) {
  const sbn_conv *conv = call->node->plan;
  const sbn_instructions *use = call->node->instructions;
  size_t words = ((size_t)conv->channels + 31) / 32, channels = (size_t)conv->channels;
  uint32_t bits[SBN_PIXELS];
  const int32_t *base[SBN_PIXELS];
  if (conv->output_type == TYPE_INT32 && !conv->zero_border) {
    uint32_t *out = (uint32_t *)call->output + pixel * words;
    if (conv->groups == 1) {
      use->compare(sums, pixels, conv->thresholds + lane, out + channel / 32, words);
    } else {
      use->compare(sums, pixels, conv->thresholds + lane, bits, 1);
      put_bits(conv, bits, pixels, channel, lanes, out, words);
    }
    return;
  }
  size_t map = (size_t)conv->output_height * (size_t)conv->output_width;
  size_t position = conv->zero_border ? pixel % map : 0;
  for (int i = 0; i < pixels; ++i) {
    base[i] = conv->base + (size_t)conv->kind[position] * lanes_of(conv) + lane;
    if (conv->zero_border && ++position == map) position = 0;
  }
  if (conv->output_type == TYPE_INT32) {
    for (int i = 0; i < pixels; ++i) {
      bits[i] = 0;
      for (int j = 0; j < lanes; ++j) {
        /* K - sum, twice the count where there is no border */
        int64_t twice = conv->products - ((int64_t)base[i][j] - 2 * (int64_t)sums[i * SBN_LANES + j]);
        bits[i] |= (uint32_t)(twice > 2 * (int64_t)conv->thresholds[lane + (size_t)j]) << j;
      }
    }
    put_bits(conv, bits, pixels, channel, lanes, (uint32_t *)call->output + pixel * words, words);
    return;
  }
  if (conv->output_type == TYPE_INT8) {
    int8_t *out = (int8_t *)call->output + pixel * channels + (size_t)channel;
    for (int i = 0; i < pixels; ++i) {
      for (int j = 0; j < lanes; ++j) {
        int32_t x = base[i][j] - 2 * sums[i * SBN_LANES + j];
        x = x < conv->low ? conv->low : x > conv->high ? conv->high : x;
        float product = (float)(conv->products - x) * conv->multiplier[lane + (size_t)j];
        out[(size_t)i * channels + (size_t)j] = int8_of(product + conv->bias[lane + (size_t)j]);
      }
    }
    return;
  }
  const sbn_tail *tail = &conv->tail;
  sbn_affine affine = {conv->low, conv->high, conv->multiplier + lane, conv->bias + lane,
                       tail->activation == ACTIVATION_RELU};
  size_t at = pixel * channels + (size_t)channel;
  use->scale(sums, pixels, base, &affine, tail->has_residual ? call->residual + at : NULL,
             tail->writes_float ? (float *)call->output + at : NULL, channels, lanes,
             tail->writes_bits ? bits : NULL);
  if (tail->writes_bits) {
    put_bits(conv, bits, pixels, channel, lanes, call->packed + pixel * words, words);
  }
}

/* Some pixels, and some or all of the blocks of channels. */
static void run_item(void *context, size_t item, int thread) {
  const sbn_call *call = context;
  const sbn_conv *conv = call->node->plan;
  size_t blocks = (size_t)conv->groups * (size_t)conv->blocks;
  size_t part = item % call->parts, first = item / call->parts * call->chunk;
  size_t last = first + call->chunk < call->pixels ? first + call->chunk : call->pixels;
  size_t stop = blocks * (part + 1) / call->parts;
  int32_t sums[SBN_PIXELS * SBN_LANES];
  int32_t gathered = -1;
  const uint32_t *rows = NULL;
  size_t stride = conv->words;
  for (size_t block = blocks * part / call->parts; block < stop; ++block) {
    int32_t group = (int32_t)(block / (size_t)conv->blocks);
    int32_t offset = (int32_t)(block % (size_t)conv->blocks) * SBN_LANES;
    int32_t channel = group * conv->group_channels + offset;
    int lanes = conv->group_channels - offset < SBN_LANES ? conv->group_channels - offset : SBN_LANES;
    if (conv->is_row) {
      rows = call->input + first * (size_t)conv->input_words;
    } else if (group != gathered) {
      uint32_t *patch = conv->patches + (size_t)thread * conv->chunk * conv->words;
      for (size_t pixel = first; pixel < last; ++pixel) {
        gather(conv, call->input, pixel, group, patch + (pixel - first) * conv->words);
      }
      gathered = group;
      rows = patch;
    }
    const uint32_t *weights = conv->weights + block * conv->words * SBN_LANES;
    for (size_t pixel = first; pixel < last; pixel += SBN_PIXELS) {
      int pixels = last - pixel < SBN_PIXELS ? (int)(last - pixel) : SBN_PIXELS;
      call->node->instructions->count(rows + (pixel - first) * stride, stride, pixels, conv->words,
                                      weights, sums);
      finish(call, sums, pixel, pixels, block * SBN_LANES, channel, lanes);
    }
  }
}

static void run_conv(sbn_node *node, int batch, const void *const *inputs, void *const *outputs) {
  const sbn_conv *conv = node->plan;
  sbn_call call = {.node = node, .batch = batch, .input = inputs[0]};
  call.residual = conv->tail.has_residual ? inputs[1] : NULL;
  call.output = outputs[0];
  if (conv->output_type == TYPE_FLOAT32 && conv->tail.writes_bits) {
    call.packed = outputs[conv->tail.writes_float];
  }
  call.pixels = (size_t)batch * (size_t)conv->output_height * (size_t)conv->output_width;
  size_t blocks = (size_t)conv->groups * (size_t)conv->blocks;
  size_t threads = (size_t)sbn_threads_count(node->threads);
  call.chunk = conv->chunk;
  /* A chunk for every thread, of whole tiles. */
  size_t share = (call.pixels + threads - 1) / threads;
  share = (share + SBN_PIXELS - 1) / SBN_PIXELS * SBN_PIXELS;
  if (share < call.chunk) call.chunk = share;
  call.chunks = (call.pixels + call.chunk - 1) / call.chunk;
  int aligned = conv->groups == 1 || conv->group_channels % 32 == 0;
  call.parts = aligned && call.chunks < 2 * threads && threads > 1 ? threads : 1;
  if (call.parts > blocks) call.parts = blocks;
  if (conv->groups > 1) {
    /* Bits of several groups are or-ed into a word. */
    size_t words = ((size_t)conv->channels + 31) / 32 * call.pixels;
    if (conv->output_type == TYPE_INT32) memset(call.output, 0, words * 4);
    if (call.packed != NULL) memset(call.packed, 0, words * 4);
  }
  sbn_threads_run(node->threads, call.chunks * call.parts, run_item, &call);
}

/* ---- Planning ---- */

static int is_vector(const sbn_tensor *tensor, int type, int32_t size, const char *name,
                     sbn_message *message) {
  if (tensor == NULL || tensor->data == NULL || tensor->type != type || tensor->rank != 1 ||
      tensor->shape[0] != size || tensor->bytes != 4 * (size_t)size) {
    return sbn_fail(message, "LceBconv2d: expected constant %s for %d channels", name, size);
  }
  return 1;
}

static int check_shapes(sbn_conv *conv, const sbn_tensor *input, const sbn_tensor *filter,
                        const sbn_tensor *output, const sbn_conv_options *options, sbn_message *message) {
  const char *name = "LceBconv2d";
  if (input->rank != 4 || input->type != TYPE_INT32 || sbn_elements(input) == 0 || filter->rank != 4 ||
      filter->type != TYPE_INT32 || sbn_elements(filter) == 0 || output->rank != 4 ||
      sbn_elements(output) == 0) {
    return sbn_fail(message, "%s: expected an input and a filter of bits (rank 4, int32, positive sizes)",
                    name);
  }
  if (filter->data == NULL || filter->bytes != 4 * (size_t)sbn_elements(filter)) {
    return sbn_fail(message, "%s: expected a constant filter of %lld bytes. Received: %lld", name,
                    4 * (long long)sbn_elements(filter), (long long)filter->bytes);
  }
  int64_t channels_in = options->channels_in, words = input->shape[3];
  if (channels_in < 1 || (channels_in + 31) / 32 != words) {
    return sbn_fail(message, "%s: expected %lld words for %lld channels. Received: %lld", name,
                    (long long)(channels_in + 31) / 32, (long long)channels_in, (long long)words);
  }
  conv->channels = filter->shape[0];
  conv->group_words = filter->shape[3];
  if (words % conv->group_words != 0) {
    return sbn_fail(message, "%s: expected whole groups of words. Received: %lld by %d", name,
                    (long long)words, conv->group_words);
  }
  conv->groups = (int32_t)(words / conv->group_words);
  if (conv->groups > 1 &&
      (channels_in % (32 * (int64_t)conv->groups) != 0 || conv->channels % conv->groups != 0)) {
    return sbn_fail(message,
                    "%s: expected groups of a multiple of 32 channels, and as many filters in each. "
                    "Received: %lld channels and %d filters in %d groups",
                    name, (long long)channels_in, conv->channels, conv->groups);
  }
  conv->group_channels = conv->channels / conv->groups;
  conv->blocks = (conv->group_channels + SBN_LANES - 1) / SBN_LANES;
  if (!sbn_window(input->shape[1], filter->shape[1], options->stride_height, options->dilation_height,
                  options->padding, &conv->output_height, &conv->top, name, message) ||
      !sbn_window(input->shape[2], filter->shape[2], options->stride_width, options->dilation_width,
                  options->padding, &conv->output_width, &conv->left, name, message)) {
    return 0;
  }
  int32_t last = output->type == TYPE_INT32 ? (conv->channels + 31) / 32 : conv->channels;
  if (output->shape[0] != input->shape[0] || output->shape[1] != conv->output_height ||
      output->shape[2] != conv->output_width || output->shape[3] != last) {
    return sbn_fail(message, "%s: expected an output of %d x %d x %d. Received: %d x %d x %d", name,
                    conv->output_height, conv->output_width, last, output->shape[1], output->shape[2],
                    output->shape[3]);
  }
  int64_t products = (int64_t)filter->shape[1] * filter->shape[2] * (channels_in / conv->groups);
  if (products > INT32_MAX / 8) {
    return sbn_fail(message, "%s: expected fewer than 2^28 products an output. Received: %lld", name,
                    (long long)products);
  }
  conv->products = (int32_t)products;
  conv->height = input->shape[1];
  conv->width = input->shape[2];
  conv->input_words = input->shape[3];
  conv->filter_height = filter->shape[1];
  conv->filter_width = filter->shape[2];
  conv->stride_height = (int32_t)options->stride_height;
  conv->stride_width = (int32_t)options->stride_width;
  conv->dilation_height = (int32_t)options->dilation_height;
  conv->dilation_width = (int32_t)options->dilation_width;
  conv->words = (size_t)conv->filter_height * (size_t)conv->filter_width * (size_t)conv->group_words;
  conv->zero_border = options->padding == PADDING_SAME && options->pad_value == 0 &&
                      (conv->top > 0 || conv->left > 0 ||
                       ((int64_t)conv->output_height - 1) * conv->stride_height +
                               ((int64_t)conv->filter_height - 1) * conv->dilation_height + 1 >
                           conv->height ||
                       ((int64_t)conv->output_width - 1) * conv->stride_width +
                               ((int64_t)conv->filter_width - 1) * conv->dilation_width + 1 >
                           conv->width);
  conv->is_row = conv->filter_height == 1 && conv->filter_width == 1 && conv->stride_height == 1 &&
                 conv->stride_width == 1 && conv->groups == 1;
  return 1;
}

/* The sums that the fused activation leaves. */
static int set_limits(sbn_conv *conv, int64_t activation, sbn_message *message) {
  int32_t low = INT32_MIN, high = INT32_MAX;
  switch (activation) {
    case ACTIVATION_NONE:
      break;
    case ACTIVATION_RELU:
      low = 0;
      break;
    case ACTIVATION_RELU_N1_TO_1:
      low = -1;
      high = 1;
      break;
    case ACTIVATION_RELU6:
      low = 0;
      high = 6;
      break;
    default:
      return sbn_fail(message,
                      "LceBconv2d: expected no activation, or RELU, RELU_N1_TO_1 or RELU6. "
                      "Received: %lld",
                      (long long)activation);
  }
  conv->low = low < -conv->products ? -conv->products : low;
  conv->high = high > conv->products ? conv->products : high;
  return 1;
}

static int set_real_output(sbn_conv *conv, const sbn_tensor *multiplier, const sbn_tensor *bias,
                           const sbn_tensor *output, const sbn_tail *tail, sbn_message *message) {
  if (!is_vector(multiplier, TYPE_FLOAT32, conv->channels, "multipliers", message) ||
      !is_vector(bias, TYPE_FLOAT32, conv->channels, "biases", message)) {
    return 0;
  }
  if (output->type == TYPE_INT8 && (!output->quantized || !(output->scale > 0))) {
    return sbn_fail(message, "LceBconv2d: expected a positive scale of the int8 output");
  }
  for (int32_t channel = 0; channel < conv->channels; ++channel) {
    size_t lane = lane_of(conv, channel);
    float m = float_at(multiplier->data, (size_t)channel), b = float_at(bias->data, (size_t)channel);
    if (output->type == TYPE_INT8) {
      /* As LCE has it: of K - sum, in double precision until here. */
      double scale = output->scale, zero = (double)output->zero_point;
      conv->multiplier[lane] = (float)(-(double)m / scale);
      conv->bias[lane] = (float)(((double)b + (double)conv->products * (double)m) / scale + zero);
    } else {
      conv->multiplier[lane] = tail->multiplier ? tail->multiplier[channel] : m;
      conv->bias[lane] = tail->bias ? tail->bias[channel] : b;
    }
  }
  return 1;
}

static int fill(sbn_conv *conv, const sbn_tensor *filter, const sbn_tensor *multiplier,
                const sbn_tensor *bias, const sbn_tensor *thresholds, const sbn_tensor *output,
                const sbn_conv_options *options, int num_threads, sbn_message *message) {
  size_t lanes = lanes_of(conv);
  conv->weights = sbn_allocate(lanes * conv->words, sizeof *conv->weights);
  conv->thresholds = sbn_allocate(lanes, sizeof *conv->thresholds);
  conv->multiplier = sbn_allocate(lanes, sizeof *conv->multiplier);
  conv->bias = sbn_allocate(lanes, sizeof *conv->bias);
  conv->chunk = PATCH_BYTES / (4 * conv->words) / SBN_PIXELS * SBN_PIXELS;
  if (conv->chunk > MOST_PIXELS) conv->chunk = MOST_PIXELS;
  if (conv->chunk < SBN_PIXELS) conv->chunk = SBN_PIXELS;
  if (!conv->is_row) {
    conv->patches = sbn_allocate((size_t)num_threads * conv->chunk * conv->words, sizeof *conv->patches);
  }
  if (conv->weights == NULL || conv->thresholds == NULL || conv->multiplier == NULL ||
      conv->bias == NULL || (!conv->is_row && conv->patches == NULL)) {
    return sbn_fail(message, "LceBconv2d: out of memory");
  }
  lay_out(conv, filter);
  if (!plan_border(conv, message) || !set_limits(conv, options->activation, message)) return 0;
  conv->output_type = output->type;
  if (output->type == TYPE_INT32) {
    if (!is_vector(thresholds, TYPE_INT32, conv->channels, "thresholds", message)) return 0;
    for (size_t lane = 0; lane < lanes; ++lane) conv->thresholds[lane] = INT32_MAX;
    for (int32_t channel = 0; channel < conv->channels; ++channel) {
      conv->thresholds[lane_of(conv, channel)] = (int32_t)word_at(thresholds->data, (size_t)channel);
    }
    return 1;
  }
  if (output->type != TYPE_FLOAT32 && output->type != TYPE_INT8) {
    return sbn_fail(message, "LceBconv2d: expected an output of float32, int8 or bits. Received: type %d",
                    output->type);
  }
  return set_real_output(conv, multiplier, bias, output, &conv->tail, message);
}

int sbn_plan_conv(sbn_node *node, const sbn_tensor *input, const sbn_tensor *filter,
                  const sbn_tensor *multiplier, const sbn_tensor *bias, const sbn_tensor *thresholds,
                  const sbn_tensor *output, const sbn_tensor *packed, const sbn_conv_options *options,
                  const sbn_tail *tail, int num_threads, sbn_message *message) {
  if (options->pad_value != 0 && options->pad_value != 1) {
    return sbn_fail(message, "LceBconv2d: expected pad_values 0 or 1. Received: %lld",
                    (long long)options->pad_value);
  }
  sbn_conv *conv = sbn_allocate(1, sizeof *conv);
  if (conv == NULL) return sbn_fail(message, "LceBconv2d: out of memory");
  conv->tail = *tail;
  if (!check_shapes(conv, input, filter, output, options, message) ||
      !fill(conv, filter, multiplier, bias, thresholds, output, options, num_threads, message)) {
    free_conv(conv);
    return 0;
  }
  conv->tail.multiplier = conv->tail.bias = NULL;
  node->plan = conv;
  node->free_plan = free_conv;
  node->run = run_conv;
  node->inputs[node->num_inputs++] = *input;
  if (tail->has_residual) node->inputs[node->num_inputs++] = *output;
  if (tail->writes_float) node->outputs[node->num_outputs++] = *output;
  if (tail->writes_bits) node->outputs[node->num_outputs++] = *packed;
  const char *kind = output->type == TYPE_INT32 ? "bits" : output->type == TYPE_INT8 ? "int8" : "float32";
  snprintf(node->description, sizeof node->description,
           "LceBconv2d %d x %d / %d, %lld -> %d, %d x %d, %s%s%s", conv->filter_height,
           conv->filter_width, conv->stride_height, (long long)options->channels_in, conv->channels,
           conv->output_height, conv->output_width, kind, tail->has_residual ? ", residual" : "",
           tail->writes_bits ? ", packed" : "");
  return 1;
}
