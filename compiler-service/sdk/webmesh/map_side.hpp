// The map side of the shuffle: groups a task's pairs by key and writes them bucket by bucket.
//
// With a `combine`, each key has one value, into which further values are combined. Without one, values are appended to
// a log in the order of emission and distributed to their keys at the end.
#pragma once

#include <memory>

#include "api.hpp"
#include "table.hpp"

namespace webmesh::detail {

/// The struct that `webmesh_map_finish` returns the address of (docs/guest-abi.md).
struct MapOutput {
  u8* data;
  u32* offsets;
};
inline constinit MapOutput map_output{nullptr, nullptr};

/// Writes the part of a shuffle record before its values; returns the end. `values` is their length in bytes.
inline u8* write_record_head(u8* at, std::string_view key, u32 count, u32 values) {
  const auto length = static_cast<u32>(key.size());
  at = copy_bytes(write_varint(at, length), key.data(), length);
  return write_varint(write_varint(at, count), values);
}
/// Length in bytes of a shuffle record whose key and values have `key` and `values` bytes.
inline u32 record_size(u32 key, u32 count, u32 values) {
  return varint_size(key) + key + varint_size(count) + varint_size(values) + values;
}

/// Fills `map_output`: allocates `side.size(row)` bytes for each row of the table, ordered by bucket and within a
/// bucket by first appearance, and writes each record with `side.place(row, at)`.
template <class Side>
void lay_out(Side& side, u32 buckets) {
  if (buckets == 0) throw Malformed("there must be at least one bucket");
  auto* offsets = static_cast<u32*>(std::calloc(std::size_t{buckets} + 1, sizeof(u32)));
  auto* ends = static_cast<u8**>(std::malloc(std::size_t{buckets} * sizeof(u8*)));
  if (offsets == nullptr || ends == nullptr) throw std::bad_alloc();

  u64 total = 0;
  for (auto& row : side.table) {
    const u32 bytes = side.size(row);
    offsets[bucket_of(row.hash, buckets) + 1] += bytes;
    total += bytes;
  }
  if (total > UINT32_MAX) throw std::bad_alloc();
  u8* data = allocate(std::max<u32>(static_cast<u32>(total), 1));
  for (u32 bucket = 0; bucket < buckets; ++bucket) {
    ends[bucket] = data + offsets[bucket];
    offsets[bucket + 1] += offsets[bucket];
  }
  for (auto& row : side.table) {
    u8*& end = ends[bucket_of(row.hash, buckets)];
    end = side.place(row, end);
  }
  std::free(ends);
  map_output = {data, offsets};
}

/// The map side of jobs without `combine`.
template <class V>
class LoggingMap {
 public:
  struct Tally {
    u32 count;
    u32 bytes;
    u8* next;  // destination of the key's next value, while the output is written
  };
  using Row = Entry<Tally>;
  Table<Tally> table;

  template <class U>
  void put(const u8* key, u32 key_length, U value) {
    const auto [row, fresh] = table.find_or_add(key, key_length);
    if (fresh) row->payload = {0, 0, nullptr};
    u32 length = bounded_size<V>();
    if (length == 0) length = encoded_size(value);
    u8* at = log_.take(kMaxHead + length);
    std::memcpy(at, &row, sizeof row);
    u8* start = at + sizeof row + 1;
    if (bounded_size<V>() == 0 && length >= kLong) {
      std::memcpy(start, &length, sizeof length);
      start += sizeof length;
    }
    u8* end = write(start, value);
    at[sizeof row] = static_cast<u8>(std::min<u32>(static_cast<u32>(end - start), kLong));
    log_.shrink(end);
    row->payload.count += 1;
    row->payload.bytes += static_cast<u32>(end - start);
  }

  void finish(u32 buckets) {
    lay_out(*this, buckets);
    for (Arena::Chunk* chunk = log_.chunks(); chunk != nullptr; chunk = chunk->next) {
      for (const u8* at = chunk->begin(); at != chunk->end;) {
        Row* row;
        std::memcpy(&row, at, sizeof row);
        u32 length = at[sizeof row];
        at += sizeof row + 1;
        if (length == kLong) {
          std::memcpy(&length, at, sizeof length);
          at += sizeof length;
        }
        row->payload.next = copy_bytes(row->payload.next, at, length);
        at += length;
      }
    }
  }

  static u32 size(Row& row) { return record_size(row.key_length, row.payload.count, row.payload.bytes); }
  static u8* place(Row& row, u8* at) {
    row.payload.next = write_record_head(at, row.text(), row.payload.count, row.payload.bytes);
    return row.payload.next + row.payload.bytes;
  }

 private:
  // An entry of the log: the row's address, the value's length in one byte (or kLong and the length in four), the
  // value.
  static constexpr u32 kLong = 255;
  static constexpr u32 kMaxHead = sizeof(Row*) + 1 + sizeof(u32);

  Arena log_;
};

/// The map side of jobs with `combine`, called as `Author::combine(V, V)`: one value per key.
template <class V, class Author>
class CombiningMap {
 public:
  using Row = Entry<Held<V>>;
  Table<Held<V>> table;

  template <class U>
  void put(const u8* key, u32 key_length, U value) {
    const auto [row, fresh] = table.find_or_add(key, key_length);
    if (fresh) {
      std::construct_at(&row->payload.value, std::forward<U>(value));
    } else {
      V& into = row->payload.value;
      into = Author::combine(std::move(into), std::forward<U>(value));
    }
  }

  void finish(u32 buckets) { lay_out(*this, buckets); }

  static u32 size(Row& row) { return record_size(row.key_length, 1, encoded_size(row.payload.value)); }
  static u8* place(Row& row, u8* at) {
    const V& value = row.payload.value;
    return write(write_record_head(at, row.text(), 1, encoded_size(value)), value);
  }
};

}  // namespace webmesh::detail
