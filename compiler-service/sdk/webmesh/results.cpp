// Slow paths of results.hpp: values of more than 127 bytes, and records out of order.
#include "results.hpp"

namespace webmesh::detail {

void Results::close_value(u32 at) {
  const u32 bytes = out_.size() - at - 1;
  const u32 more = varint_size(bytes) - 1;
  if (more != 0) {
    out_.commit(out_.reserve(more) + more);
    u8* text = out_.data() + at + 1;
    std::memmove(text + more, text, bytes);
  }
  write_varint(out_.data() + at, bytes);
}

void Results::sort() {
  auto* records = reinterpret_cast<Sortable*>(allocate(std::size_t{count_} * sizeof(Sortable)));
  Reader from(out_.data(), out_.size());
  for (u32 i = 0; i < count_; ++i) {
    const u32 length = from.varint32();
    records[i] = sortable(const_cast<u8*>(from.take(length)), length);
    from.take(from.varint32());
  }
  sort_keys(records, count_);
  Buffer sorted;
  sorted.reserve(out_.size());
  for (u32 i = 0; i < count_; ++i) {
    Reader value(records[i].key + records[i].length, UINT32_MAX >> 1);
    const u32 length = value.varint32();
    const u8* end = value.take(length) + length;
    u8* at = write_varint(sorted.reserve(0), records[i].length);
    sorted.commit(copy_bytes(at, records[i].key, static_cast<u32>(end - records[i].key)));
  }
  std::free(records);
  std::free(out_.data());
  out_ = sorted;
}

}  // namespace webmesh::detail
