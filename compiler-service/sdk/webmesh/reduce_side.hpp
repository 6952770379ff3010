// The reduce side of the shuffle: groups the records of a task's buckets by key.
//
// With a `combine`, values are combined as they arrive, so memory grows with the number of keys. Without one, the
// encoded values stay in the host's buffers, and each key has a list of its fragments.
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

/// The keys of a table, as an array of `table.size()`, sorted by their bytes.
template <class Payload>
Sortable* sorted_keys(Table<Payload>& table) {
  auto* keys = reinterpret_cast<Sortable*>(allocate((std::size_t{table.size()} + 1) * sizeof(Sortable)));
  Sortable* end = keys;
  for (auto& row : table) *end++ = {sort_head(load8(row.key())), row.key(), row.key_length};
  sort_keys(keys, table.size());
  return keys;
}

/// The reduce side of jobs without `combine`.
template <class V>
class GatheringReduce {
 public:
  /// A key's values, in the order of arrival.
  struct Chain {
    Fragment* first;
    Fragment* last;
    u32 count;
  };
  using Row = Entry<Chain>;
  Table<Chain> table;

  /// Whether the bytes passed to `feed` must stay valid until the end of the task.
  static constexpr bool keeps_bytes = true;

  void feed(const u8* bytes, u32 length) {
    for (Reader from(bytes, length); from.left() != 0;) {
      const Record record = read_record(from);
      constexpr u32 kLeast = least_size<V>();
      if (kLeast != 0 && record.count > record.length / kLeast) {
        Reader::fail("a record has fewer bytes than its values need");
      }
      auto* fragment = reinterpret_cast<Fragment*>(fragments_.take(sizeof(Fragment)));
      *fragment = {nullptr, record.values, record.length, record.count};
      const auto [row, fresh] = table.find_or_add(record.key, record.key_length);
      Chain& chain = row->payload;
      if (fresh) {
        chain = {fragment, fragment, record.count};
      } else {
        if (record.count > UINT32_MAX - chain.count) Reader::fail("a key has more than 2^32 - 1 values");
        chain.last = chain.last->next = fragment;
        chain.count += record.count;
      }
    }
  }

  static Values<V> values(Row& row) { return Access::values<V>(row.payload.first, row.payload.count); }

 private:
  Arena fragments_;
};

/// The reduce side of jobs with `combine`: one value per key.
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
      if (values.left() != 0) Reader::fail("a record has bytes left after its values");
    }
  }

  static Values<V> values(Row& row) { return Access::values<V>(row.payload.value); }
};

}  // namespace webmesh::detail
