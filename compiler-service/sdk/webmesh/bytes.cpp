// Slow paths of bytes.hpp.
#include "bytes.hpp"

namespace webmesh::detail {

void Buffer::grow(u32 bytes) {
  const u64 wanted = std::max<u64>({u64{size_} + bytes, u64{capacity_} * 2, 256});
  // Addresses have 32 bits; the allocator fails beyond the memory that the host allows.
  void* memory = wanted <= UINT32_MAX ? std::realloc(data_, static_cast<std::size_t>(wanted)) : nullptr;
  if (memory == nullptr) throw std::bad_alloc();
  data_ = static_cast<u8*>(memory);
  capacity_ = static_cast<u32>(wanted);
}

void Arena::refill(u32 bytes) {
  const u32 room = std::max(next_chunk_, bytes);
  if (room > UINT32_MAX - sizeof(Chunk)) throw std::bad_alloc();
  auto* chunk = reinterpret_cast<Chunk*>(allocate(sizeof(Chunk) + room));
  chunk->next = nullptr;
  if (last_ == nullptr) {
    first_ = chunk;
  } else {
    last_->end = cursor_;
    last_->next = chunk;
  }
  last_ = chunk;
  cursor_ = chunk->begin();
  end_ = cursor_ + room;
  if (next_chunk_ < kLargestChunk) next_chunk_ *= 2;
}

void Reader::fail(const char* what) { throw Malformed(what); }

u64 Reader::long_varint() {
  u64 value = 0;
  for (u32 shift = 0; shift < 64; shift += 7) {
    const u64 next = byte();
    if (shift == 63 && next > 1) break;
    value |= (next & 0x7f) << shift;
    if (next < 0x80) return value;
  }
  fail("a varint has more than 64 bits");
}

}  // namespace webmesh::detail
