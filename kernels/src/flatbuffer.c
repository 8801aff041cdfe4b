#include "flatbuffer.h"

#include <string.h>

static size_t damaged(sbn_reader *file) {
  file->damaged = 1;
  return 0;
}

static int inside(const sbn_reader *file, size_t position, size_t bytes) {
  return position <= file->size && bytes <= file->size - position;
}

uint64_t sbn_read(sbn_reader *file, size_t position, size_t width) {
  if (!inside(file, position, width) || width > 8) return damaged(file);
  uint64_t value = 0;
  for (size_t i = 0; i < width; ++i) value |= (uint64_t)file->data[position + i] << (8 * i);
  return value;
}

static int64_t sign_extended(uint64_t value, size_t width) {
  if (width == 1) return (int8_t)value;
  if (width == 2) return (int16_t)value;
  if (width == 4) return (int32_t)value;
  return (int64_t)value;
}

/* A table's length and its vtable lie in the file. */
static size_t checked_table(sbn_reader *file, size_t position) {
  if (file->damaged || !inside(file, position, 4)) return damaged(file);
  int64_t vtable = (int64_t)position - sign_extended(sbn_read(file, position, 4), 4);
  if (vtable < 4 || !inside(file, (size_t)vtable, 4)) return damaged(file);
  size_t vtable_bytes = (size_t)sbn_read(file, (size_t)vtable, 2);
  size_t table_bytes = (size_t)sbn_read(file, (size_t)vtable + 2, 2);
  if (vtable_bytes < 4 || vtable_bytes % 2 != 0 || !inside(file, (size_t)vtable, vtable_bytes) ||
      !inside(file, position, table_bytes)) {
    return damaged(file);
  }
  return position;
}

static size_t referred(sbn_reader *file, size_t position) {
  uint64_t offset = sbn_read(file, position, 4);
  if (file->damaged || offset < 4 || !inside(file, position, (size_t)offset)) return damaged(file);
  return position + (size_t)offset;
}

size_t sbn_root(sbn_reader *file) {
  size_t root = referred(file, 0);
  return root ? checked_table(file, root) : 0;
}

size_t sbn_field(sbn_reader *file, size_t table, int field, size_t width) {
  if (file->damaged || table == 0) return 0;
  size_t vtable = (size_t)((int64_t)table - sign_extended(sbn_read(file, table, 4), 4));
  size_t vtable_bytes = (size_t)sbn_read(file, vtable, 2);
  size_t place = 4 + 2 * (size_t)field;
  if (place + 2 > vtable_bytes) return 0;
  size_t offset = (size_t)sbn_read(file, vtable + place, 2);
  if (offset == 0) return 0;
  size_t table_bytes = (size_t)sbn_read(file, vtable + 2, 2);
  if (offset < 4 || offset + width > table_bytes) return damaged(file);
  return table + offset;
}

int64_t sbn_integer(sbn_reader *file, size_t table, int field, size_t width, int64_t absent) {
  size_t position = sbn_field(file, table, field, width);
  return position ? sign_extended(sbn_read(file, position, width), width) : absent;
}

size_t sbn_table(sbn_reader *file, size_t table, int field) {
  size_t position = sbn_field(file, table, field, 4);
  size_t found = position ? referred(file, position) : 0;
  return found ? checked_table(file, found) : 0;
}

size_t sbn_vector(sbn_reader *file, size_t table, int field, size_t width, size_t *count) {
  *count = 0;
  size_t position = sbn_field(file, table, field, 4);
  size_t found = position ? referred(file, position) : 0;
  if (found == 0) return 0;
  uint64_t length = sbn_read(file, found, 4);
  if (file->damaged || length > (file->size - found - 4) / width) return damaged(file);
  *count = (size_t)length;
  return found + 4;
}

size_t sbn_element(sbn_reader *file, size_t first, size_t count, size_t index) {
  if (file->damaged || index >= count) return damaged(file);
  size_t found = referred(file, first + 4 * index);
  return found ? checked_table(file, found) : 0;
}

/* Flexbuffers: the root is the last value, its type and its width the last two bytes. A map's values
 * are a vector with its length before it, and before that the place and the width of its keys. */
enum { FLEX_INT = 1, FLEX_UINT = 2, FLEX_INDIRECT_INT = 6, FLEX_INDIRECT_UINT = 7, FLEX_MAP = 9 };
enum { FLEX_BOOL = 26 };

static int width_fits(size_t width) { return width == 1 || width == 2 || width == 4 || width == 8; }

/* Position that the offset at `position` points back to, not before `first`. */
static size_t back(sbn_reader *file, size_t first, size_t position, size_t width) {
  uint64_t offset = sbn_read(file, position, width);
  if (file->damaged || offset == 0 || offset > position - first) return damaged(file);
  return position - (size_t)offset;
}

int64_t sbn_flex_integer(sbn_reader *file, size_t first, size_t count, const char *key, int *found) {
  *found = 0;
  if (file->damaged || count < 3 || !inside(file, first, count)) return (int64_t)damaged(file);
  size_t last = first + count;
  size_t root_width = file->data[last - 1];
  uint8_t packed = file->data[last - 2];
  size_t width = (size_t)1 << (packed & 3);
  if (packed >> 2 != FLEX_MAP || !width_fits(root_width) || root_width > count - 2) {
    return (int64_t)damaged(file);
  }
  size_t map = back(file, first, last - 2 - root_width, root_width);
  if (file->damaged || map - first < 3 * width) return (int64_t)damaged(file);
  uint64_t length = sbn_read(file, map - width, width);
  uint64_t key_width = sbn_read(file, map - 2 * width, width);
  size_t keys = back(file, first, map - 3 * width, width);
  if (file->damaged || !width_fits((size_t)key_width) || length > (last - map) / (width + 1) ||
      length > (last - keys) / (size_t)key_width) {
    return (int64_t)damaged(file);
  }
  size_t key_bytes = strlen(key) + 1;
  for (size_t i = 0; i < (size_t)length; ++i) {
    size_t name = back(file, first, keys + i * (size_t)key_width, (size_t)key_width);
    if (file->damaged) return 0;
    if (last - name < key_bytes || memcmp(file->data + name, key, key_bytes) != 0) continue;
    uint8_t type = file->data[map + (size_t)length * width + i];
    size_t place = map + i * width, value_width = width;
    if (type >> 2 == FLEX_INDIRECT_INT || type >> 2 == FLEX_INDIRECT_UINT) {
      value_width = (size_t)1 << (type & 3);
      place = back(file, first, place, width);
    } else if (type >> 2 != FLEX_INT && type >> 2 != FLEX_UINT && type >> 2 != FLEX_BOOL) {
      return 0;
    }
    uint64_t value = sbn_read(file, place, value_width);
    *found = !file->damaged;
    return type >> 2 == FLEX_INT || type >> 2 == FLEX_INDIRECT_INT ? sign_extended(value, value_width)
                                                                   : (int64_t)value;
  }
  return 0;
}
