#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200112L
#endif
#include "support.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int sbn_fail(sbn_message *message, const char *format, ...) {
  if (!message->set) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message->text, sizeof message->text, format, arguments);
    va_end(arguments);
    message->set = 1;
  }
  return 0;
}

void *sbn_allocate(size_t count, size_t size) {
  const size_t alignment = 64;
  if (size != 0 && count > (SIZE_MAX - 2 * alignment) / size) return NULL;
  size_t bytes = count * size;
  char *memory = malloc(bytes + 2 * alignment);
  if (memory == NULL) return NULL;
  char *aligned = memory + alignment + (alignment - (uintptr_t)memory % alignment) % alignment;
  memcpy(aligned - sizeof memory, &memory, sizeof memory);
  memset(aligned, 0, bytes);
  return aligned;
}

void sbn_free(void *memory) {
  if (memory == NULL) return;
  char *original;
  memcpy(&original, (char *)memory - sizeof original, sizeof original);
  free(original);
}

double sbn_seconds(void) {
  struct timespec now;
#if defined(_WIN32)
  timespec_get(&now, TIME_UTC);
#else
  clock_gettime(CLOCK_MONOTONIC, &now);
#endif
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
