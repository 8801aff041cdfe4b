/* Reading flatbuffers and flexbuffers that nobody has checked.
 *
 * Positions are offsets from the beginning of the file; 0 stands for what is absent. Whatever points
 * outside the file sets `damaged`, and reads as absent. */
#ifndef SBN_FLATBUFFER_H_
#define SBN_FLATBUFFER_H_

#include <stddef.h>
#include <stdint.h>

typedef struct {
  const uint8_t *data;
  size_t size;
  int damaged;
} sbn_reader;

/* Little-endian value of 1, 2, 4 or 8 bytes, zero-extended. */
uint64_t sbn_read(sbn_reader *file, size_t position, size_t width);

/* Position of the root table. */
size_t sbn_root(sbn_reader *file);

/* Position of the field's value of `width` bytes, or 0. */
size_t sbn_field(sbn_reader *file, size_t table, int field, size_t width);

/* The field's number, or `absent`. */
int64_t sbn_integer(sbn_reader *file, size_t table, int field, size_t width, int64_t absent);

/* Position of the table, or of the first of `*count` elements of `width` bytes, that the field refers to.
 */
size_t sbn_table(sbn_reader *file, size_t table, int field);
size_t sbn_vector(sbn_reader *file, size_t table, int field, size_t width, size_t *count);

/* Position of the table that an element of a vector of tables refers to. */
size_t sbn_element(sbn_reader *file, size_t first, size_t count, size_t index);

/* The integer with this key in a flexbuffer's root, which is a map; `*found` says whether there is one.
 */
int64_t sbn_flex_integer(sbn_reader *file, size_t first, size_t count, const char *key, int *found);

#endif
