// The pairs that `reduce` yields, as the result records of `webmesh_reduce_finish`: sorted by key, then by value.
//
// Keys are reduced in sorted order, and most jobs yield one record for each, under the key itself. Then the records are
// already sorted.
#pragma once

#include "json.hpp"
#include "sort.hpp"

namespace webmesh::detail {

class Results {
 public:
  /// Begins the records of `key`. Called once for each key, in sorted order.
  void start_key(std::string_view key) {
    key_ = key;
    key_yielded_ = false;
  }

  template <class R>
  void add(std::string_view key, const R& value) {
    const auto length = static_cast<u32>(key.size());
    u8* at = copy_bytes(write_varint(out_.reserve(kMaxVarint + length + 1), length), key.data(), length);
    // Reserves one byte for the length of the value, which almost always suffices.
    *at = 0;
    const auto gap = static_cast<u32>(at - out_.data());
    out_.commit(at + 1);
    write_json(out_, value);
    close_value(gap);
    in_order_ = in_order_ && !key_yielded_ && key == key_;
    key_yielded_ = true;
    ++count_;
  }

  void finish() {
    if (!in_order_) sort();
  }

  u8* data() { return out_.data(); }
  u32 size() const { return out_.size(); }
  u32 count() const { return count_; }

 private:
  /// Writes the varint with the length of the value, whose text follows the byte reserved for it at `at`. Moves the
  /// text if the varint is longer.
  void close_value(u32 at);

  void sort();

  Buffer out_;
  u32 count_ = 0;
  std::string_view key_;
  bool key_yielded_ = false;
  bool in_order_ = true;
};

}  // namespace webmesh::detail
