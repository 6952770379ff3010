// Sorts keys by their bytes.
#pragma once

#include <algorithm>

#include "bytes.hpp"

namespace webmesh::detail {

/// A key to be sorted. `head` is its first eight bytes as a big-endian number, padded with zeros: most comparisons need
/// only this.
struct Sortable {
  u64 head;
  u8* key;
  u32 length;
};

/// `Sortable::head` from the eight bytes that `load8` returns.
inline u64 sort_head(u64 bytes) { return __builtin_bswap64(bytes); }

inline Sortable sortable(u8* key, u32 length) {
  u64 head = 0;
  copy_bytes(reinterpret_cast<u8*>(&head), key, std::min<u32>(length, 8));
  return {sort_head(head), key, length};
}

/// Sorts keys, and equal keys by the value after each: its length as a varint and its bytes, as in a result record.
/// Keys of a table are never equal.
void sort_keys(Sortable* keys, u32 count);

}  // namespace webmesh::detail
