// Raw memory for one task: growing buffers, an arena, varints, and a bounds-checked reader.
//
// A module's instance is discarded after one task, so nothing is freed individually: the types have trivial
// destructors, and constant-initialised objects of them in static storage need no constructor call.
//
// The slow paths are in bytes.cpp. Like every .cpp file here it is compiled once, with the toolchain, and linked to
// every job.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string_view>

namespace webmesh::detail {

using u8 = std::uint8_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

/// Input from the host that violates docs/guest-abi.md.
struct Malformed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Maximum length of a varint in bytes: a 64-bit number, seven bits per byte.
inline constexpr u32 kMaxVarint = 10;

inline u8* allocate(std::size_t bytes) {
  void* memory = std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return static_cast<u8*>(memory);
}

inline u64 load8(const u8* at) {
  u64 word;
  std::memcpy(&word, at, 8);
  return word;
}

/// Length in bytes of `value` as a varint.
inline u32 varint_size(u64 value) { return (static_cast<u32>(70 - std::countl_zero(value | 1))) / 7; }

inline u8* write_varint(u8* at, u64 value) {
  while (value >= 0x80) {
    *at++ = static_cast<u8>(value) | 0x80;
    value >>= 7;
  }
  *at++ = static_cast<u8>(value);
  return at;
}

/// Copies `length` bytes as their first and their last `Word`, which may overlap; `length` is one to two words.
template <class Word>
void copy_ends(u8* to, const u8* from, u32 length) {
  Word first, last;
  std::memcpy(&first, from, sizeof first);
  std::memcpy(&last, from + length - sizeof last, sizeof last);
  std::memcpy(to, &first, sizeof first);
  std::memcpy(to + length - sizeof last, &last, sizeof last);
}

/// Like memcpy, but faster for up to 16 bytes, which most keys and values have. Returns the end of the copy.
inline u8* copy_bytes(u8* to, const void* from, u32 length) {
  const auto* source = static_cast<const u8*>(from);
  if (length > 16) {
    std::memcpy(to, source, length);
  } else if (length >= 8) {
    copy_ends<u64>(to, source, length);
  } else if (length >= 4) {
    copy_ends<u32>(to, source, length);
  } else if (length >= 2) {
    copy_ends<std::uint16_t>(to, source, length);
  } else if (length != 0) {
    *to = *source;
  }
  return to + length;
}

/// A growable byte string.
class Buffer {
 public:
  u8* data() { return data_; }
  u32 size() const { return size_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

  /// Makes room for `bytes` more after the end; returns the end.
  u8* reserve(u32 bytes) {
    if (bytes > capacity_ - size_) [[unlikely]] grow(bytes);
    return data_ + size_;
  }
  /// Sets the end to `end`, within the room that `reserve` made.
  void commit(u8* end) { size_ = static_cast<u32>(end - data_); }
  void append(std::string_view bytes) {
    const auto length = static_cast<u32>(bytes.size());
    commit(copy_bytes(reserve(length), bytes.data(), length));
  }
  void push(char byte) {
    *reserve(1) = static_cast<u8>(byte);
    ++size_;
  }
  void clear() { size_ = 0; }

 private:
  void grow(u32 bytes);

  u8* data_ = nullptr;
  u32 size_ = 0;
  u32 capacity_ = 0;
};

/// A bump allocator whose allocations never move. They can be iterated over in order, chunk by chunk.
class Arena {
 public:
  struct alignas(16) Chunk {
    Chunk* next;
    u8* end;
    u8* begin() { return reinterpret_cast<u8*>(this + 1); }
  };

  u8* take(u32 bytes) {
    if (bytes > static_cast<u32>(end_ - cursor_)) [[unlikely]] refill(bytes);
    u8* taken = cursor_;
    cursor_ += bytes;
    return taken;
  }
  /// Returns the part of the last `take` from `cursor` on.
  void shrink(u8* cursor) { cursor_ = cursor; }

  /// The list of chunks, in the order of allocation; null if nothing was taken.
  Chunk* chunks() {
    if (last_ != nullptr) last_->end = cursor_;
    return first_;
  }

 private:
  // Chunk sizes in bytes, doubled from chunk to chunk: the first for tasks of one line, the last so that a large task
  // has few chunks.
  static constexpr u32 kFirstChunk = 1 << 10;
  static constexpr u32 kLargestChunk = 1 << 18;

  void refill(u32 bytes);

  u8* cursor_ = nullptr;
  u8* end_ = nullptr;
  Chunk* first_ = nullptr;
  Chunk* last_ = nullptr;
  u32 next_chunk_ = kFirstChunk;
};

/// Reads untrusted bytes. Every read is bounds-checked and throws Malformed beyond the end.
class Reader {
 public:
  Reader(const u8* begin, u32 length) : at_(begin), end_(begin + length) {}

  u32 left() const { return static_cast<u32>(end_ - at_); }
  const u8* take(u32 bytes) {
    if (bytes > left()) [[unlikely]] fail("a record is truncated");
    const u8* taken = at_;
    at_ += bytes;
    return taken;
  }
  u8 byte() { return *take(1); }
  u64 varint() {
    if (at_ != end_ && *at_ < 0x80) [[likely]] return *at_++;
    return long_varint();
  }
  /// A varint with the length or number of something in memory, so with at most 32 bits.
  u32 varint32() {
    const u64 value = varint();
    if (value > UINT32_MAX) [[unlikely]] fail("a length has more than 32 bits");
    return static_cast<u32>(value);
  }
  [[noreturn]] static void fail(const char* what);

 private:
  u64 long_varint();

  const u8* at_;
  const u8* end_;
};

}  // namespace webmesh::detail
