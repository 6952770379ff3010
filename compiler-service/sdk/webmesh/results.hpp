// What reduce yields, as the records that `webmesh_reduce_finish` hands to the host: sorted by key, then by value.
//
// Keys are reduced in their order, and most jobs yield one record for each, under the key itself: then the records are
// in order as they are written, and nothing is sorted.
#pragma once

#include "json.hpp"
#include "sort.hpp"

namespace webmesh::detail {

class Results {
 public:
  /// Says that `key` is reduced from now on; keys come in their order, each once.
  void start_key(std::string_view key) {
    key_ = key;
    key_yielded_ = false;
  }

  template <class R>
  void add(std::string_view key, const R& value) {
    const auto length = static_cast<u32>(key.size());
    u8* at = copy_bytes(write_varint(out_.reserve(kMaxVarint + length + 1), length), key.data(), length);
    // One byte for the length of the value, which nearly always is enough.
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
  /// Writes the length of the value, whose text follows a byte kept for it at `at`, and makes room for more such bytes.
  void close_value(u32 at);

  void sort();

  Buffer out_;
  u32 count_ = 0;
  std::string_view key_;
  bool key_yielded_ = false;
  bool in_order_ = true;
};

}  // namespace webmesh::detail
