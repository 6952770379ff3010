// Sorting by the bytes of keys.
#pragma once

#include <algorithm>

#include "bytes.hpp"

namespace webmesh::detail {

/// A key to be sorted. `head` is its first eight bytes with the first one highest, and zeros beyond its end: most
/// comparisons need no more.
struct Sortable {
  u64 head;
  u8* key;
  u32 length;
};

/// `head` of the eight bytes that `load8` gives.
inline u64 sort_head(u64 bytes) { return __builtin_bswap64(bytes); }

inline Sortable sortable(u8* key, u32 length) {
  u64 head = 0;
  copy_bytes(reinterpret_cast<u8*>(&head), key, std::min<u32>(length, 8));
  return {sort_head(head), key, length};
}

/// Sorts keys, and equal ones by the value that stands behind each: its length as a varint and its bytes, as in a result
/// record. Keys of a table are never equal.
void sort_keys(Sortable* keys, u32 count);

}  // namespace webmesh::detail
