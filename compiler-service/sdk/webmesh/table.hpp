// The hash table that groups by key: open addressing with linear probing, entries in an arena in the order of their
// first appearance.
//
// An entry is contiguous: hash, length of the key, payload, and the key's bytes, padded with zeros to a multiple of
// eight. A lookup of a short key reads one slot and one entry, and compares eight bytes at once.
#pragma once

#include <algorithm>
#include <iterator>
#include <string_view>

#include "bytes.hpp"

namespace webmesh::detail {

/// The parts of a key that a lookup uses: its first eight bytes as a number, padded with zeros, and its hash.
struct Digest {
  u64 head;
  u32 hash;
};

/// The upper half of a 64-bit hash of `state`: multiply, fold, multiply, as in the wyhash family but with 64-bit
/// products, since WebAssembly has no wider ones. Its lower bits select the slot and its upper bits the bucket.
inline u32 finish_hash(u64 state) {
  state *= 0xd6e8feb86659fd93u;
  state = (state ^ (state >> 32)) * 0x9fb21c651e98df25u;
  return static_cast<u32>(state >> 32);
}

/// `load_short` without reads beyond the key.
u64 load_short_bytewise(const u8* at, u32 length);

/// The first `length` (under 8) bytes at `at` as a number.
inline u64 load_short(const u8* at, u32 length) {
  constexpr u32 kPage = 1 << 16;
  const bool near_end = (reinterpret_cast<std::uintptr_t>(at) & (kPage - 1)) > kPage - 8;
  if (near_end) [[unlikely]] return load_short_bytewise(at, length);
  // Reads beyond the key but within its page of WebAssembly's memory, so without a trap. The empty assembly hides from
  // the compiler that the read leaves the object.
  asm("" : "+r"(at));
  return load8(at) & ((u64{1} << (8 * length)) - 1);
}

inline Digest digest(const u8* bytes, u32 length) {
  if (length < 8) {
    // Most keys are this short: seven bytes and the length fit in 64 bits.
    const u64 head = load_short(bytes, length);
    return {head, finish_hash(head | u64{length} << 56)};
  }
  const u64 head = load8(bytes);
  u64 state = head ^ (length * 0x9e3779b97f4a7c15u);
  for (u32 at = 8; at + 8 <= length; at += 8) {
    state = (state ^ (state >> 32)) * 0xa0761d6478bd642fu ^ load8(bytes + at);
  }
  // The last eight bytes, which may overlap the previous ones.
  if (length % 8 != 0) state = (state ^ (state >> 32)) * 0xe7037ed1a0b428dbu ^ load8(bytes + length - 8);
  return {head, finish_hash(state)};
}

/// The bucket of a hash, below `buckets` (docs/guest-abi.md).
inline u32 bucket_of(u32 hash, u32 buckets) { return static_cast<u32>((u64{hash} * buckets) >> 32); }

template <class Payload>
struct alignas(alignof(Payload) > 8 ? alignof(Payload) : 8) Entry {
  u32 hash;
  u32 key_length;
  Payload payload;

  u8* key() { return reinterpret_cast<u8*>(this) + sizeof(Entry); }
  std::string_view text() { return {reinterpret_cast<const char*>(key()), key_length}; }
  /// The entry with this key; `key` is a pointer that `key()` returned.
  static Entry& of_key(u8* key) { return *reinterpret_cast<Entry*>(key - sizeof(Entry)); }
  /// The padded length of a key: a multiple of the entry's alignment, so of eight, and never 0, so that `load8` can
  /// read the head of every key.
  static u32 padded(u32 length) {
    constexpr u32 kMore = static_cast<u32>(alignof(Entry)) - 1;
    return (std::max<u32>(length, 1) + kMore) & ~kMore;
  }
  u32 bytes() const { return static_cast<u32>(sizeof(Entry)) + padded(key_length); }
};

/// A payload of one value, uninitialised until it is constructed, and never destroyed.
template <class V>
union Held {
  Held() {}
  ~Held() {}
  V value;
};

template <class Payload>
class Table {
 public:
  using Row = Entry<Payload>;
  struct Found {
    Row* row;
    bool fresh;  // the key is new, and the payload uninitialised
  };

  // Pointer and length rather than a string_view, here and below: WebAssembly passes scalars as locals and structs in
  // memory.
  [[gnu::always_inline]] Found find_or_add(const u8* bytes, u32 length) {
    const auto [head, hash] = digest(bytes, length);
    for (u32 at = hash & mask_;; at = (at + 1) & mask_) {
      const Slot slot = slots_[at];
      if (slot.row == nullptr) return {add(bytes, length, head, hash), true};
      if (slot.hash == hash && slot.row->key_length == length && load8(slot.row->key()) == head &&
          (length <= 8 || same_tail(slot.row->key(), bytes, length))) {
        return {slot.row, false};
      }
    }
  }

  u32 size() const { return used_; }

  /// Iterates over the rows in the order of their keys' first appearance.
  class Iterator {
   public:
    Row& operator*() const { return *reinterpret_cast<Row*>(at_); }
    Iterator& operator++() {
      at_ += (**this).bytes();
      settle();
      return *this;
    }
    bool operator==(std::default_sentinel_t) const { return chunk_ == nullptr; }

   private:
    friend class Table;
    explicit Iterator(Arena::Chunk* chunk) : chunk_(chunk), at_(chunk == nullptr ? nullptr : chunk->begin()) {
      settle();
    }
    void settle() {
      while (chunk_ != nullptr && at_ == chunk_->end) {
        chunk_ = chunk_->next;
        if (chunk_ != nullptr) at_ = chunk_->begin();
      }
    }
    Arena::Chunk* chunk_;
    u8* at_;
  };
  Iterator begin() { return Iterator(rows_.chunks()); }
  std::default_sentinel_t end() { return {}; }

 private:
  struct Slot {
    u32 hash;
    Row* row;
  };
  // One empty slot that tables share until their first key, so that an empty table allocates nothing.
  static constexpr Slot kNoSlots[1] = {};
  static constexpr u32 kFirstSlots = 64;
  // Below this number of slots a table grows fourfold, to rehash less often; from it on twofold, to touch little new
  // memory, which is the main cost of a short task.
  static constexpr u32 kFastGrowth = 1 << 12;

  /// Whether two keys of the same length, more than 8, are equal after their first eight bytes.
  [[gnu::noinline]] static bool same_tail(const u8* left, const u8* right, u32 length) {
    for (u32 at = 8; at + 8 <= length; at += 8) {
      if (load8(left + at) != load8(right + at)) return false;
    }
    return load8(left + length - 8) == load8(right + length - 8);
  }

  [[gnu::noinline]] Row* add(const u8* bytes, u32 length, u64 head, u32 hash) {
    if (used_ >= limit_) grow();
    u32 at = hash & mask_;
    while (slots_[at].row != nullptr) at = (at + 1) & mask_;
    const u32 padded = Row::padded(length);
    auto* row = reinterpret_cast<Row*>(rows_.take(static_cast<u32>(sizeof(Row)) + padded));
    row->hash = hash;
    row->key_length = length;
    u8* key = row->key();
    if (length <= 8) {
      std::memcpy(key, &head, 8);
    } else {
      std::memset(key + padded - 8, 0, 8);
      std::memcpy(key, bytes, length);
    }
    const_cast<Slot*>(slots_)[at] = {hash, row};
    ++used_;
    return row;
  }

  void grow() {
    const u32 old_slots = mask_ + 1;
    u32 slots = kFirstSlots;
    if (limit_ != 0) slots = old_slots < kFastGrowth ? old_slots * 4 : old_slots * 2;
    auto* grown = static_cast<Slot*>(std::calloc(slots, sizeof(Slot)));
    if (grown == nullptr) throw std::bad_alloc();
    for (u32 i = 0; limit_ != 0 && i < old_slots; ++i) {
      if (slots_[i].row == nullptr) continue;
      u32 at = slots_[i].hash & (slots - 1);
      while (grown[at].row != nullptr) at = (at + 1) & (slots - 1);
      grown[at] = slots_[i];
    }
    if (limit_ != 0) std::free(const_cast<Slot*>(slots_));
    slots_ = grown;
    mask_ = slots - 1;
    // Above this load factor lookups are measurably slower.
    limit_ = slots / 8 * 5;
  }

  const Slot* slots_ = kNoSlots;
  u32 mask_ = 0;
  u32 used_ = 0;
  u32 limit_ = 0;
  Arena rows_;
};

}  // namespace webmesh::detail
