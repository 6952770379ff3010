// The reduce's side of the shuffle: groups the records of one bucket by key.
//
// With a `combine`, values are folded as they come, so that memory grows with the keys. Without, the bytes stay where
// the host put them until all have come, and are then copied together key by key, so that a key is read in one go.
#pragma once

#include <memory>

#include "api.hpp"
#include "sort.hpp"
#include "table.hpp"

namespace webmesh::detail {

/// One record of a segment (docs/guest-abi.md).
struct Record {
  const u8* key;
  u32 key_length;
  u32 count;
  u32 length;
  const u8* values;
};

inline Record read_record(Reader& from) {
  Record record;
  record.key_length = from.varint32();
  record.key = from.take(record.key_length);
  record.count = from.varint32();
  if (record.count == 0) Reader::fail("a record has no values");
  record.length = from.varint32();
  record.values = from.take(record.length);
  return record;
}

/// The keys of a table, `table.size()` of them, in the order of their bytes.
template <class Payload>
Sortable* sorted_keys(Table<Payload>& table) {
  auto* keys = reinterpret_cast<Sortable*>(allocate((std::size_t{table.size()} + 1) * sizeof(Sortable)));
  Sortable* end = keys;
  for (auto& row : table) *end++ = {sort_head(load8(row.key())), row.key(), row.key_length};
  sort_keys(keys, table.size());
  return keys;
}

/// Values as they come, for jobs without `combine`.
template <class V>
class GatheringReduce {
 public:
  struct Tally {
    u32 count;
    u32 bytes;
    u8* next;  // where the key's next values go, while they are gathered; their end after that
  };
  using Row = Entry<Tally>;
  Table<Tally> table;

  /// Whether the bytes that were fed must stay where they are.
  static constexpr bool keeps_bytes = true;

  void feed(const u8* bytes, u32 length) {
    for (Reader from(bytes, length); from.left() != 0;) {
      const Record record = read_record(from);
      const auto [row, fresh] = table.find_or_add(record.key, record.key_length);
      if (fresh) row->payload = {0, 0, nullptr};
      Tally& tally = row->payload;
      if (record.count > UINT32_MAX - tally.count) Reader::fail("a key has over 2^32 values");
      tally.count += record.count;
      // All of it lies in memory whose addresses have 32 bits, and so do the sums.
      tally.bytes += record.length;
      bytes_ += record.length;
      *reinterpret_cast<Logged*>(log_.take(sizeof(Logged))) = {row, record.values, record.length};
    }
  }

  /// Lays the values out key by key. Values of one key stay in the order in which they were fed: the log is walked from
  /// its start, and each key has its own place to write at.
  void gather() {
    u8* at = allocate(std::size_t{bytes_} + 1);
    for (auto& row : table) {
      row.payload.next = at;
      at += row.payload.bytes;
    }
    for (Arena::Chunk* chunk = log_.chunks(); chunk != nullptr; chunk = chunk->next) {
      const auto* end = reinterpret_cast<const Logged*>(chunk->end);
      for (auto* logged = reinterpret_cast<const Logged*>(chunk->begin()); logged != end; ++logged) {
        u8*& next = logged->row->payload.next;
        next = copy_bytes(next, logged->values, logged->length);
      }
    }
  }

  /// After `gather`.
  static Values<V> values(Row& row) {
    const Tally& tally = row.payload;
    return Access::values<V>(tally.next - tally.bytes, tally.bytes, tally.count);
  }

 private:
  /// One record's values, where the host put them.
  struct Logged {
    Row* row;
    const u8* values;
    u32 length;
  };

  Arena log_;
  u32 bytes_ = 0;
};

/// One value a key, for jobs with `combine`.
template <class V, class Author>
class CombiningReduce {
 public:
  using Row = Entry<Held<V>>;
  Table<Held<V>> table;

  static constexpr bool keeps_bytes = false;

  void feed(const u8* bytes, u32 length) {
    for (Reader from(bytes, length); from.left() != 0;) {
      const Record record = read_record(from);
      const auto [row, fresh] = table.find_or_add(record.key, record.key_length);
      Reader values(record.values, record.length);
      u32 left = record.count;
      if (fresh) {
        std::construct_at(&row->payload.value, read<V>(values));
        --left;
      }
      for (V& into = row->payload.value; left != 0; --left) into = Author::combine(std::move(into), read<V>(values));
      if (values.left() != 0) Reader::fail("a record has more bytes than its values need");
    }
  }

  /// Nothing is left to do: values were folded as they came.
  void gather() {}

  static Values<V> values(Row& row) { return Access::values<V>(std::move(row.payload.value)); }
};

}  // namespace webmesh::detail
