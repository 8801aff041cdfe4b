/* Reading a `.tflite` file, and writing it again with an operator code for every one-bit node.
 *
 * LiteRT calls a custom operator with what belongs to its operator code and nothing else: no options, no
 * absent inputs, no state of the node. So each node gets a code of its own, and its inputs are the
 * tensors that change; kernels and thresholds are read here. New tables stand behind the old file, since
 * a flatbuffer's references point forwards; where they are referred to, the old file is patched. */
#include <stdio.h>
#include <string.h>

#include "flatbuffer.h"
#include "model.h"

enum { CUSTOM = 32, ADD = 0, STOCK_DEQUANTIZE_CODE = 6, MUL = 18, RELU = 19 };
enum { OTHER, QUANTIZE, DEQUANTIZE, POOL, CONV, STOCK_ADD, STOCK_MUL, STOCK_RELU, STOCK_DEQUANTIZE };
enum { TYPE_FLOAT16 = 1 };
enum { CODE_BYTES = 48, OUTPUT_USES = 1 << 20 };

typedef struct {
  size_t table, inputs, outputs;
  size_t num_inputs, num_outputs;
  int kind;
  uint32_t code;
  int activation; /* of stock operators */
  int node;       /* that is written in its place, or -1 */
  int dropped;
} sbn_op;

typedef struct {
  int32_t producer, user; /* indices of operators, -1 for none; `user` is the last one */
  int uses;               /* by operators and as an output of the model */
} sbn_links;

typedef struct {
  sbn_reader file;
  size_t root, codes, buffers, subgraph, tensors, operators;
  size_t num_codes, num_buffers, num_tensors, num_operators;
  sbn_op *ops;
  sbn_links *links;
  float **constants; /* values of tensors that DEQUANTIZE computes from a constant */
  sbn_message *message;
} sbn_graph;

static int32_t input_of(sbn_graph *graph, const sbn_op *op, size_t index) {
  return index < op->num_inputs ? (int32_t)sbn_read(&graph->file, op->inputs + 4 * index, 4) : -1;
}

static int32_t output_of(sbn_graph *graph, const sbn_op *op, size_t index) {
  return index < op->num_outputs ? (int32_t)sbn_read(&graph->file, op->outputs + 4 * index, 4) : -1;
}

static int damaged(sbn_graph *graph) {
  return sbn_fail(graph->message, "Expected a .tflite file. Received: one that is damaged, or none");
}

static const uint8_t *dequantized(sbn_graph *graph, int32_t index, const sbn_tensor *tensor,
                                  size_t *bytes);

/* Reads a tensor; one that changes is given a batch of 1, and the file's goes to `*batch`. */
static int read_tensor(sbn_graph *graph, int32_t index, sbn_tensor *tensor, int *batch) {
  sbn_reader *file = &graph->file;
  memset(tensor, 0, sizeof *tensor);
  if (index < 0) return sbn_fail(graph->message, "Expected an input that is present. Received: none");
  size_t table = sbn_element(file, graph->tensors, graph->num_tensors, (size_t)index);
  size_t rank = 0, count = 0, zeros = 0, shape = sbn_vector(file, table, 0, 4, &rank);
  tensor->type = (int)sbn_integer(file, table, 1, 1, TYPE_FLOAT32);
  if (rank > SBN_MAX_RANK)
    return sbn_fail(graph->message, "Expected at most 8 dimensions. Received: %d", (int)rank);
  tensor->rank = (int)rank;
  for (size_t i = 0; i < rank; ++i) tensor->shape[i] = (int32_t)sbn_read(file, shape + 4 * i, 4);
  size_t buffer = (size_t)(uint32_t)sbn_integer(file, table, 2, 4, 0);
  size_t buffer_table = buffer == 0 ? 0 : sbn_element(file, graph->buffers, graph->num_buffers, buffer);
  size_t data = sbn_vector(file, buffer_table, 0, 1, &tensor->bytes);
  if (data != 0 && tensor->bytes > 0) tensor->data = file->data + data;
  size_t quantization = sbn_table(file, table, 4);
  size_t scale = sbn_vector(file, quantization, 2, 4, &count);
  size_t zero = sbn_vector(file, quantization, 3, 8, &zeros);
  if (count > 0) {
    uint32_t bits = (uint32_t)sbn_read(file, scale, 4);
    memcpy(&tensor->scale, &bits, 4);
    tensor->zero_point = zeros > 0 ? (int64_t)sbn_read(file, zero, 8) : 0;
    tensor->quantized = 1;
    tensor->num_scales = count;
    if (tensor->zero_point > 1 << 20) tensor->zero_point = 1 << 20;
    if (tensor->zero_point < -(1 << 20)) tensor->zero_point = -(1 << 20);
  }
  if (file->damaged) return damaged(graph);
  if (tensor->data == NULL) tensor->data = dequantized(graph, index, tensor, &tensor->bytes);
  if (batch != NULL && tensor->rank > 1) {
    *batch = tensor->shape[0];
    if (*batch < 1 || *batch > 1 << 20)
      return sbn_fail(graph->message, "Expected a positive batch. Received: %d", *batch);
    tensor->shape[0] = 1;
  }
  return 1;
}

static float float_of_half(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff, bits;
  float value;
  if (rest >= 0x7c00) {
    bits = sign | 0x7f800000u | (rest & 0x3ff) << 13;
  } else if (rest >= 0x400) {
    bits = sign | ((rest << 13) + (112u << 23));
  } else {
    value = (float)rest * 0x1p-24f;
    memcpy(&bits, &value, 4);
    bits |= sign;
  }
  memcpy(&value, &bits, 4);
  return value;
}

/* Values of a float32 tensor that a stock DEQUANTIZE makes of an int8 or float16 constant with one scale,
 * as converters store long vectors; NULL of any other. They live as long as the graph. */
static const uint8_t *dequantized(sbn_graph *graph, int32_t index, const sbn_tensor *tensor,
                                  size_t *bytes) {
  int32_t producer = graph->links[index].producer;
  sbn_tensor stored;
  if (producer < 0 || graph->ops[producer].kind != STOCK_DEQUANTIZE || tensor->type != TYPE_FLOAT32)
    return NULL;
  int64_t elements = sbn_elements(tensor);
  if (graph->constants[index] == NULL) {
    int32_t input = input_of(graph, &graph->ops[producer], 0);
    /* Constants only: a tensor that is computed has no data, so this goes one step and no further. */
    if (input < 0 || graph->links[input].producer >= 0 || !read_tensor(graph, input, &stored, NULL) ||
        stored.data == NULL || !sbn_same_shape(&stored, tensor) || elements == 0) {
      return NULL;
    }
    int is_int8 = stored.type == TYPE_INT8 && stored.quantized && stored.num_scales == 1;
    if ((!is_int8 || stored.bytes != (size_t)elements) &&
        (stored.type != TYPE_FLOAT16 || stored.bytes != 2 * (size_t)elements)) {
      return NULL;
    }
    float *values = sbn_allocate((size_t)elements, sizeof *values);
    if (values == NULL) return NULL;
    for (int64_t i = 0; i < elements; ++i) {
      values[i] = is_int8 ? stored.scale * (float)((int8_t)stored.data[i] - stored.zero_point)
                          : float_of_half((uint16_t)(stored.data[2 * i] | stored.data[2 * i + 1] << 8));
    }
    graph->constants[index] = values;
  }
  *bytes = 4 * (size_t)elements;
  return (const uint8_t *)graph->constants[index];
}

static int64_t option(sbn_graph *graph, const sbn_op *op, const char *key) {
  size_t count;
  size_t first = sbn_vector(&graph->file, op->table, 5, 1, &count);
  int found = 0;
  int64_t value = first ? sbn_flex_integer(&graph->file, first, count, key, &found) : 0;
  if (!found)
    sbn_fail(graph->message, "Expected an option `%s` of a one-bit operator. Received: none", key);
  return value;
}

/* ---- The graph ---- */

static int kind_of_code(sbn_graph *graph, uint32_t code, int *builtin) {
  sbn_reader *file = &graph->file;
  static const char *const names[] = {"LceQuantize", "LceDequantize", "LceBMaxPool2d", "LceBconv2d"};
  size_t table = sbn_element(file, graph->codes, graph->num_codes, code);
  int64_t old = sbn_integer(file, table, 0, 1, 0), new = sbn_integer(file, table, 3, 4, 0);
  *builtin = (int)(old > new ? old : new);
  if (*builtin == ADD) return STOCK_ADD;
  if (*builtin == MUL) return STOCK_MUL;
  if (*builtin == RELU) return STOCK_RELU;
  if (*builtin == STOCK_DEQUANTIZE_CODE) return STOCK_DEQUANTIZE;
  if (*builtin != CUSTOM) return OTHER;
  size_t length, name = sbn_vector(file, table, 1, 1, &length);
  for (int i = 0; name != 0 && i < 4; ++i) {
    if (length == strlen(names[i]) && memcmp(file->data + name, names[i], length) == 0)
      return QUANTIZE + i;
  }
  return OTHER;
}

static int read_operator(sbn_graph *graph, size_t index) {
  sbn_reader *file = &graph->file;
  sbn_op *op = &graph->ops[index];
  int builtin;
  op->node = -1;
  op->table = sbn_element(file, graph->operators, graph->num_operators, index);
  op->code = (uint32_t)sbn_integer(file, op->table, 0, 4, 0);
  op->inputs = sbn_vector(file, op->table, 1, 4, &op->num_inputs);
  op->outputs = sbn_vector(file, op->table, 2, 4, &op->num_outputs);
  op->kind = kind_of_code(graph, op->code, &builtin);
  if (op->kind == STOCK_ADD || op->kind == STOCK_MUL) {
    op->activation = (int)sbn_integer(file, sbn_table(file, op->table, 4), 0, 1, ACTIVATION_NONE);
  }
  for (size_t i = 0; i < op->num_inputs; ++i) {
    int32_t tensor = input_of(graph, op, i);
    if (tensor < -1 || tensor >= (int64_t)graph->num_tensors) return damaged(graph);
    if (tensor < 0) continue;
    graph->links[tensor].user = (int32_t)index;
    ++graph->links[tensor].uses;
  }
  for (size_t i = 0; i < op->num_outputs; ++i) {
    int32_t tensor = output_of(graph, op, i);
    if (tensor < -1 || tensor >= (int64_t)graph->num_tensors) return damaged(graph);
    if (tensor >= 0) graph->links[tensor].producer = (int32_t)index;
  }
  return !file->damaged || damaged(graph);
}

/* Operators of this library stand in the first subgraph. */
static int check_other_subgraphs(sbn_graph *graph, size_t subgraphs, size_t count) {
  sbn_reader *file = &graph->file;
  for (size_t i = 1; i < count; ++i) {
    size_t operators, first = sbn_vector(file, sbn_element(file, subgraphs, count, i), 3, 4, &operators);
    for (size_t j = 0; j < operators && !file->damaged; ++j) {
      int builtin;
      size_t table = sbn_element(file, first, operators, j);
      int kind = kind_of_code(graph, (uint32_t)sbn_integer(file, table, 0, 4, 0), &builtin);
      if (kind >= QUANTIZE && kind <= CONV) {
        return sbn_fail(graph->message,
                        "Expected one-bit operators in the first subgraph. Received: one in subgraph %d",
                        (int)i);
      }
    }
  }
  return 1;
}

static int read_graph(sbn_graph *graph) {
  sbn_reader *file = &graph->file;
  size_t num_subgraphs, num_outputs;
  if (file->size < 8 || memcmp(file->data + 4, "TFL3", 4) != 0) return damaged(graph);
  graph->root = sbn_root(file);
  graph->codes = sbn_vector(file, graph->root, 1, 4, &graph->num_codes);
  size_t subgraphs = sbn_vector(file, graph->root, 2, 4, &num_subgraphs);
  graph->buffers = sbn_vector(file, graph->root, 4, 4, &graph->num_buffers);
  graph->subgraph = num_subgraphs > 0 ? sbn_element(file, subgraphs, num_subgraphs, 0) : 0;
  graph->tensors = sbn_vector(file, graph->subgraph, 0, 4, &graph->num_tensors);
  graph->operators = sbn_vector(file, graph->subgraph, 3, 4, &graph->num_operators);
  size_t outputs = sbn_vector(file, graph->subgraph, 2, 4, &num_outputs);
  if (file->damaged || graph->subgraph == 0 || graph->codes == 0) return damaged(graph);
  graph->ops = sbn_allocate(graph->num_operators, sizeof *graph->ops);
  graph->links = sbn_allocate(graph->num_tensors, sizeof *graph->links);
  graph->constants = sbn_allocate(graph->num_tensors, sizeof *graph->constants);
  if (graph->ops == NULL || graph->links == NULL || graph->constants == NULL)
    return sbn_fail(graph->message, "Out of memory");
  for (size_t i = 0; i < graph->num_tensors; ++i) graph->links[i].producer = graph->links[i].user = -1;
  for (size_t i = 0; i < graph->num_operators; ++i) {
    if (!read_operator(graph, i)) return 0;
  }
  for (size_t i = 0; i < num_outputs; ++i) {
    int32_t tensor = (int32_t)sbn_read(file, outputs + 4 * i, 4);
    if (tensor < 0 || tensor >= (int64_t)graph->num_tensors) return damaged(graph);
    graph->links[tensor].user = -1;
    graph->links[tensor].uses += OUTPUT_USES; /* never the only use */
  }
  return check_other_subgraphs(graph, subgraphs, num_subgraphs) && (!file->damaged || damaged(graph));
}

/* ---- What follows a convolution with float output ---- */

typedef struct {
  sbn_tail tail;
  float *multiplier, *bias;
  int32_t tensor, residual, packed; /* what is written, added and written as bits; -1 for none */
  size_t last;                      /* operator in whose place the node stands */
} sbn_chain;

/* The operator of this kind that is the only use of the tensor, and gives floats of the shape of
 * `output`; or NULL. */
static sbn_op *only_use(sbn_graph *graph, int32_t tensor, int kind, const sbn_tensor *output) {
  const sbn_links *links = &graph->links[tensor];
  sbn_tensor result;
  int batch;
  if (links->uses != 1 || links->user < 0) return NULL;
  sbn_op *op = &graph->ops[links->user];
  if (op->kind != kind || op->dropped || op->node >= 0 || op->num_outputs != 1 ||
      output_of(graph, op, 0) < 0 || !read_tensor(graph, output_of(graph, op, 0), &result, &batch)) {
    return NULL;
  }
  return result.type == TYPE_FLOAT32 && sbn_same_shape(&result, output) ? op : NULL;
}

/* A constant of one value, or one a channel, as `channels` floats; NULL where it is none. */
static float *channel_values(sbn_graph *graph, int32_t index, int32_t channels) {
  sbn_tensor tensor;
  if (index < 0 || !read_tensor(graph, index, &tensor, NULL) || tensor.data == NULL ||
      tensor.type != TYPE_FLOAT32) {
    return NULL;
  }
  int64_t elements = tensor.rank == 0 ? 1 : sbn_elements(&tensor);
  int32_t last = tensor.rank == 0 ? 1 : tensor.shape[tensor.rank - 1];
  if (elements != last || (elements != 1 && elements != channels) ||
      tensor.bytes != 4 * (size_t)elements || tensor.rank > 4) {
    return NULL;
  }
  float *values = sbn_allocate((size_t)channels, sizeof *values);
  for (int32_t i = 0; values != NULL && i < channels; ++i) {
    memcpy(values + i, tensor.data + (elements == 1 ? 0 : 4 * (size_t)i), 4);
  }
  return values;
}

static int all_equal(sbn_graph *graph, int32_t index, float value) {
  sbn_tensor tensor;
  if (index < 0 || !read_tensor(graph, index, &tensor, NULL) || tensor.data == NULL) return 0;
  for (size_t i = 0; i + 4 <= tensor.bytes; i += 4) {
    float found;
    memcpy(&found, tensor.data + i, 4);
    if (found != value) return 0;
  }
  return 1;
}

static int32_t other_input(sbn_graph *graph, const sbn_op *op, int32_t tensor) {
  if (op->num_inputs != 2) return -1;
  int32_t first = input_of(graph, op, 0), second = input_of(graph, op, 1);
  return first == second ? -1 : first == tensor ? second : first;
}

static void take(sbn_graph *graph, sbn_chain *chain, sbn_op *op) {
  op->dropped = 1;
  chain->tensor = output_of(graph, op, 0);
  chain->last = (size_t)(op - graph->ops);
}

/* Fuses what stock operators would compute next, where every rounding stays what it is: the
 * multiplication and the addition of batch normalization, the addition of a residual, a ReLU, and the
 * packing of the result. */
static int follow(sbn_graph *graph, size_t index, const sbn_tensor *output, sbn_chain *chain) {
  const sbn_op *conv = &graph->ops[index];
  sbn_tensor other;
  sbn_op *op;
  int32_t channels = output->shape[3];
  int plain = all_equal(graph, input_of(graph, conv, 2), 1), open = 1;
  int no_bias = all_equal(graph, input_of(graph, conv, 3), 0);
  if (plain && no_bias && (op = only_use(graph, chain->tensor, STOCK_MUL, output)) != NULL &&
      op->activation == ACTIVATION_NONE) {
    chain->multiplier = channel_values(graph, other_input(graph, op, chain->tensor), channels);
    if (chain->multiplier != NULL) take(graph, chain, op);
  }
  if (no_bias && (op = only_use(graph, chain->tensor, STOCK_ADD, output)) != NULL &&
      (op->activation == ACTIVATION_NONE || op->activation == ACTIVATION_RELU)) {
    chain->bias = channel_values(graph, other_input(graph, op, chain->tensor), channels);
    if (chain->bias != NULL) {
      take(graph, chain, op);
      chain->tail.activation = op->activation;
      open = op->activation == ACTIVATION_NONE;
    }
  }
  if (open && (op = only_use(graph, chain->tensor, STOCK_ADD, output)) != NULL &&
      (op->activation == ACTIVATION_NONE || op->activation == ACTIVATION_RELU)) {
    int32_t residual = other_input(graph, op, chain->tensor);
    int batch;
    if (residual >= 0 && read_tensor(graph, residual, &other, &batch) && other.data == NULL &&
        other.type == TYPE_FLOAT32 && sbn_same_shape(&other, output)) {
      chain->residual = residual;
      chain->tail.has_residual = 1;
      chain->tail.activation = op->activation;
      open = op->activation == ACTIVATION_NONE;
      take(graph, chain, op);
    }
  }
  if (open && (op = only_use(graph, chain->tensor, STOCK_RELU, output)) != NULL) {
    chain->tail.activation = ACTIVATION_RELU;
    take(graph, chain, op);
  }
  for (size_t i = chain->last + 1; i < graph->num_operators; ++i) {
    op = &graph->ops[i];
    if (op->kind == QUANTIZE && !op->dropped && op->node < 0 && input_of(graph, op, 0) == chain->tensor &&
        op->num_inputs == 1 && op->num_outputs == 1 && output_of(graph, op, 0) >= 0) {
      op->dropped = 1;
      chain->packed = output_of(graph, op, 0);
      chain->tail.writes_bits = 1;
      chain->tail.writes_float = graph->links[chain->tensor].uses > 1;
      break;
    }
  }
  return !graph->message->set;
}

/* ---- Nodes ---- */

static void add_input(sbn_node *node, int32_t tensor) {
  node->tensor_of_input[node->num_inputs++] = tensor;
}
static void add_output(sbn_node *node, int32_t tensor) {
  node->tensor_of_output[node->num_outputs++] = tensor;
}

static int plan_conv(sbn_model *model, sbn_graph *graph, size_t index, sbn_node *node, sbn_chain *chain) {
  sbn_op *op = &graph->ops[index];
  sbn_tensor input, filter, optional[3], output, packed;
  int present[3], batch = 0, other = 0;
  memset(&packed, 0, sizeof packed);
  if (op->num_inputs != 5 || op->num_outputs != 1) {
    return sbn_fail(graph->message, "LceBconv2d: expected 5 inputs and 1 output. Received: %d and %d",
                    (int)op->num_inputs, (int)op->num_outputs);
  }
  if (!read_tensor(graph, input_of(graph, op, 0), &input, &batch) ||
      !read_tensor(graph, input_of(graph, op, 1), &filter, NULL) ||
      !read_tensor(graph, output_of(graph, op, 0), &output, &other)) {
    return 0;
  }
  for (int i = 0; i < 3; ++i) {
    int32_t tensor = input_of(graph, op, (size_t)i + 2);
    present[i] = tensor >= 0;
    if (present[i] && !read_tensor(graph, tensor, &optional[i], NULL)) return 0;
  }
  sbn_conv_options options = {
      .stride_height = option(graph, op, "stride_height"),
      .stride_width = option(graph, op, "stride_width"),
      .dilation_height = option(graph, op, "dilation_height_factor"),
      .dilation_width = option(graph, op, "dilation_width_factor"),
      .padding = option(graph, op, "padding"),
      .pad_value = option(graph, op, "pad_values"),
      .channels_in = option(graph, op, "channels_in"),
      .activation = option(graph, op, "fused_activation_function"),
  };
  if (graph->message->set) return 0;
  chain->tensor = output_of(graph, op, 0);
  chain->last = index;
  chain->residual = chain->packed = -1;
  chain->tail.writes_float = 1;
  if (output.type == TYPE_FLOAT32 && output.rank == 4 && filter.rank == 4 &&
      output.shape[3] == filter.shape[0] && !follow(graph, index, &output, chain)) {
    return 0;
  }
  if (chain->packed >= 0 && !read_tensor(graph, chain->packed, &packed, &other)) return 0;
  if (chain->packed >= 0 &&
      (packed.type != TYPE_INT32 || packed.rank != 4 || packed.shape[1] != output.shape[1] ||
       packed.shape[2] != output.shape[2] || packed.shape[3] != (output.shape[3] + 31) / 32)) {
    return sbn_fail(graph->message, "LceQuantize: expected an output of the convolution's shape in bits");
  }
  chain->tail.multiplier = chain->multiplier;
  chain->tail.bias = chain->bias;
  if (!sbn_plan_conv(node, &input, &filter, present[0] ? &optional[0] : NULL,
                     present[1] ? &optional[1] : NULL, present[2] ? &optional[2] : NULL, &output, &packed,
                     &options, &chain->tail, sbn_threads_count(model->threads), graph->message)) {
    return 0;
  }
  node->batch = batch;
  node->num_inputs = node->num_outputs = 0;
  add_input(node, input_of(graph, op, 0));
  if (chain->residual >= 0) add_input(node, chain->residual);
  if (chain->tail.writes_float) add_output(node, chain->tensor);
  if (chain->packed >= 0) add_output(node, chain->packed);
  return 1;
}

static int plan_simple(sbn_graph *graph, size_t index, sbn_node *node) {
  sbn_op *op = &graph->ops[index];
  sbn_tensor input, output;
  int batch = 1, other = 1, planned = 0;
  if (op->num_inputs != 1 || op->num_outputs != 1) {
    return sbn_fail(graph->message,
                    "Expected 1 input and 1 output of a one-bit operator. Received: %d and %d",
                    (int)op->num_inputs, (int)op->num_outputs);
  }
  if (!read_tensor(graph, input_of(graph, op, 0), &input, &batch) ||
      !read_tensor(graph, output_of(graph, op, 0), &output, &other)) {
    return 0;
  }
  if (op->kind == QUANTIZE) planned = sbn_plan_quantize(node, &input, &output, graph->message);
  if (op->kind == DEQUANTIZE) planned = sbn_plan_dequantize(node, &input, &output, graph->message);
  if (op->kind == POOL) {
    sbn_pool_options options = {
        .filter_height = option(graph, op, "filter_height"),
        .filter_width = option(graph, op, "filter_width"),
        .stride_height = option(graph, op, "stride_height"),
        .stride_width = option(graph, op, "stride_width"),
        .padding = option(graph, op, "padding"),
    };
    planned = !graph->message->set && sbn_plan_pool(node, &input, &output, &options, graph->message);
  }
  if (!planned) return 0;
  node->batch = batch;
  node->num_inputs = node->num_outputs = 0;
  add_input(node, input_of(graph, op, 0));
  add_output(node, output_of(graph, op, 0));
  return 1;
}

static int plan_nodes(sbn_model *model, sbn_graph *graph) {
  size_t most = 0;
  for (size_t i = 0; i < graph->num_operators; ++i)
    most += graph->ops[i].kind >= QUANTIZE && graph->ops[i].kind <= CONV;
  model->nodes = sbn_allocate(most, sizeof *model->nodes);
  if (model->nodes == NULL) return sbn_fail(graph->message, "Out of memory");
  for (size_t i = 0; i < graph->num_operators; ++i) {
    sbn_op *op = &graph->ops[i];
    if (op->kind < QUANTIZE || op->kind > CONV || op->dropped) continue;
    sbn_node *node = &model->nodes[model->num_nodes];
    size_t place = i;
    int planned;
    if (op->kind == CONV) {
      sbn_chain chain;
      memset(&chain, 0, sizeof chain);
      planned = plan_conv(model, graph, i, node, &chain);
      sbn_free(chain.multiplier);
      sbn_free(chain.bias);
      place = chain.last;
    } else {
      planned = plan_simple(graph, i, node);
    }
    ++model->num_nodes; /* freed with the model even where it was refused */
    if (!planned) return 0;
    node->instructions = model->instructions;
    node->threads = model->threads;
    node->message = &model->message;
    snprintf(node->code, sizeof node->code, "sbn_%d_%s", model->num_nodes - 1,
             op->kind == CONV       ? "conv"
             : op->kind == POOL     ? "pool"
             : op->kind == QUANTIZE ? "pack"
                                    : "unpack");
    op->dropped = 1;
    graph->ops[place].dropped = 0;
    graph->ops[place].node = model->num_nodes - 1;
  }
  return 1;
}

/* Drops every DEQUANTIZE whose values only nodes used: they hold them. */
static void drop_unused(sbn_graph *graph) {
  for (size_t i = 0; i < graph->num_operators; ++i) {
    sbn_op *op = &graph->ops[i];
    if (op->kind != STOCK_DEQUANTIZE || op->num_outputs != 1) continue;
    int32_t tensor = output_of(graph, op, 0);
    int used = tensor < 0 || graph->links[tensor].uses >= OUTPUT_USES;
    for (size_t j = i + 1; j < graph->num_operators && !used; ++j) {
      const sbn_op *other = &graph->ops[j];
      for (size_t k = 0; k < other->num_inputs && !other->dropped && other->node < 0; ++k) {
        if (input_of(graph, other, k) == tensor) used = 1;
      }
    }
    /* A node's only float32 inputs are maps; one of them may be dequantized too. */
    for (size_t j = i + 1; j < graph->num_operators && !used; ++j) {
      used = graph->ops[j].node >= 0 && graph->constants[tensor] == NULL;
    }
    op->dropped = !used;
  }
}

/* ---- Writing ---- */

typedef struct {
  uint8_t *data;
  size_t size, capacity;
} sbn_writer;

static void put(sbn_writer *writer, uint64_t value, size_t width) {
  for (size_t i = 0; i < width && writer->size < writer->capacity; ++i) {
    writer->data[writer->size++] = (uint8_t)(value >> (8 * i));
  }
}

static void patch(sbn_writer *writer, size_t position, size_t target) {
  uint32_t offset = (uint32_t)(target - position);
  for (size_t i = 0; i < 4; ++i) writer->data[position + i] = (uint8_t)(offset >> (8 * i));
}

static void align(sbn_writer *writer) {
  while (writer->size % 4 != 0 && writer->size < writer->capacity) put(writer, 0, 1);
}

/* An OperatorCode table; returns its position. */
static size_t put_code(sbn_writer *writer, int builtin, const void *name, size_t length,
                       int32_t version) {
  align(writer);
  size_t vtable = writer->size;
  const uint16_t fields[6] = {12, 20, 4, name ? 8 : 0, 12, 16};
  for (int i = 0; i < 6; ++i) put(writer, fields[i], 2);
  size_t table = writer->size;
  put(writer, table - vtable, 4);
  put(writer, (uint64_t)(builtin > 127 ? 127 : builtin), 4);
  put(writer, 0, 4);
  put(writer, (uint32_t)version, 4);
  put(writer, (uint32_t)builtin, 4);
  if (name != NULL) {
    patch(writer, table + 8, writer->size);
    put(writer, length, 4);
    for (size_t i = 0; i < length; ++i) put(writer, ((const uint8_t *)name)[i], 1);
    put(writer, 0, 1);
  }
  return table;
}

static void put_tensors(sbn_writer *writer, size_t reference, const int32_t *tensors, int count) {
  patch(writer, reference, writer->size);
  put(writer, (uint64_t)count, 4);
  for (int i = 0; i < count; ++i) put(writer, (uint32_t)tensors[i], 4);
}

/* An Operator table; returns its position. */
static size_t put_operator(sbn_writer *writer, uint32_t code, const sbn_node *node) {
  align(writer);
  size_t vtable = writer->size;
  const uint16_t fields[6] = {10, 16, 4, 8, 12, 0};
  for (int i = 0; i < 6; ++i) put(writer, fields[i], 2);
  size_t table = writer->size;
  put(writer, table - vtable, 4);
  put(writer, code, 4);
  put(writer, 0, 8);
  put_tensors(writer, table + 8, node->tensor_of_input, node->num_inputs);
  put_tensors(writer, table + 12, node->tensor_of_output, node->num_outputs);
  return table;
}

static void put_codes(sbn_model *model, sbn_graph *graph, sbn_writer *writer) {
  sbn_reader *file = &graph->file;
  align(writer);
  size_t count = graph->num_codes + (size_t)model->num_nodes, vector = writer->size;
  put(writer, count, 4);
  for (size_t i = 0; i < count; ++i) put(writer, 0, 4);
  for (size_t i = 0; i < count; ++i) {
    size_t table;
    if (i < graph->num_codes) {
      int builtin;
      size_t old = sbn_element(file, graph->codes, graph->num_codes, i), length;
      kind_of_code(graph, (uint32_t)i, &builtin);
      size_t name = sbn_vector(file, old, 1, 1, &length);
      table = put_code(writer, builtin, name ? file->data + name : NULL, length,
                       (int32_t)sbn_integer(file, old, 2, 4, 1));
    } else {
      const char *code = model->nodes[i - graph->num_codes].code;
      table = put_code(writer, CUSTOM, code, strlen(code), 1);
    }
    patch(writer, vector + 4 + 4 * i, table);
  }
  patch(writer, sbn_field(file, graph->root, 1, 4), vector);
}

/* Space for what is appended. */
static size_t appended_bytes(sbn_model *model, sbn_graph *graph) {
  size_t bytes = 256 + (graph->num_codes + (size_t)model->num_nodes) * 64 +
                 (size_t)model->num_nodes * (128 + CODE_BYTES);
  for (size_t i = 0; i < graph->num_codes; ++i) {
    size_t length;
    sbn_vector(&graph->file, sbn_element(&graph->file, graph->codes, graph->num_codes, i), 1, 1, &length);
    bytes += length;
  }
  return bytes;
}

static int write_file(sbn_model *model, sbn_graph *graph) {
  sbn_reader *file = &graph->file;
  sbn_writer writer = {NULL, file->size, file->size + appended_bytes(model, graph)};
  if (file->size > INT32_MAX || writer.capacity > INT32_MAX) {
    return sbn_fail(graph->message, "Expected a file of less than 2 GiB. Received: %lld bytes",
                    (long long)file->size);
  }
  model->file = writer.data = sbn_allocate(writer.capacity, 1);
  if (writer.data == NULL) return sbn_fail(graph->message, "Out of memory");
  memcpy(writer.data, file->data, file->size);
  put_codes(model, graph, &writer);
  /* Operators move to the front of their vector as others fall away; what they refer to lies behind. */
  size_t kept = 0;
  for (size_t i = 0; i < graph->num_operators; ++i) {
    const sbn_op *op = &graph->ops[i];
    if (op->dropped) continue;
    size_t table = op->table;
    if (op->node >= 0) {
      table =
          put_operator(&writer, (uint32_t)(graph->num_codes + (size_t)op->node), &model->nodes[op->node]);
    }
    patch(&writer, graph->operators + 4 * kept++, table);
  }
  if (graph->operators != 0) {
    for (size_t i = 0; i < 4; ++i) writer.data[graph->operators - 4 + i] = (uint8_t)(kept >> (8 * i));
  }
  model->bytes = writer.size;
  if (file->damaged || writer.size == writer.capacity) return damaged(graph);
  return 1;
}

int sbn_read_model(sbn_model *model, const uint8_t *file, size_t bytes, sbn_message *message) {
  sbn_graph graph;
  memset(&graph, 0, sizeof graph);
  graph.file.data = file;
  graph.file.size = bytes;
  graph.message = message;
  int done = read_graph(&graph) && plan_nodes(model, &graph);
  if (done) drop_unused(&graph);
  done = done && write_file(model, &graph);
  for (size_t i = 0; graph.constants != NULL && i < graph.num_tensors; ++i) sbn_free(graph.constants[i]);
  sbn_free(graph.constants);
  sbn_free(graph.ops);
  sbn_free(graph.links);
  return done;
}
