/* A file whose one-bit operators have become nodes of this library. */
#ifndef SBN_MODEL_H_
#define SBN_MODEL_H_

#include "../include/sbn_kernels.h"
#include "node.h"

struct sbn_model {
  uint8_t *file;
  size_t bytes;
  sbn_node *nodes;
  int num_nodes;
  const sbn_instructions *instructions;
  sbn_threads *threads;
  sbn_message message;
  char reported[256];
  sbn_litert litert;
};

/* Reads and plans (read.c): fills `nodes` and the rewritten `file`. Returns 0 with a message. */
int sbn_read_model(sbn_model *model, const uint8_t *file, size_t bytes, sbn_message *message);

#endif
