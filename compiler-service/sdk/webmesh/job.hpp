// The module's exports (docs/guest-abi.md), for the functions of one job.
#pragma once

#include "errors.hpp"
#include "map_side.hpp"
#include "reduce_side.hpp"
#include "results.hpp"
#include "signature.hpp"

namespace webmesh::detail {

/// The version of docs/guest-abi.md that this header implements.
inline constexpr std::int32_t kAbi = 1;

/// The struct that `webmesh_reduce_finish` returns the address of (docs/guest-abi.md).
struct ReduceOutput {
  u8* data;
  u32 length;
  u32 records;
  std::int32_t status;
};

/// The buffer that the host fills for the next call. It is reused unless the last call kept it.
class Inbox {
 public:
  /// A buffer of at least `bytes` bytes; null if memory is exhausted.
  u8* room(u32 bytes) {
    if (bytes >= capacity_) {
      std::free(data_);
      data_ = static_cast<u8*>(std::malloc(std::size_t{bytes} + 1));
      capacity_ = data_ == nullptr ? 0 : bytes + 1;
    }
    return data_;
  }
  /// Keeps the current buffer for the rest of the task; the next call gets a new one.
  void keep() {
    data_ = nullptr;
    capacity_ = 0;
  }

 private:
  u8* data_ = nullptr;
  u32 capacity_ = 0;
};

/// The exports of a job whose functions match. `Author` is described in signature.hpp.
template <class Author, bool valid = kValid<Author>>
class Job {
  using F = Forms<Author>;
  using V = typename F::V;
  using R = typename F::R;
  using Map = typename F::Map::Form;
  using Reduce = typename F::Reduce::Form;
  using MapSide = std::conditional_t<F::combines, CombiningMap<V, Author>, LoggingMap<V>>;
  using ReduceSide = std::conditional_t<F::combines, CombiningReduce<V, Author>, GatheringReduce<V>>;

  static inline constinit Inbox inbox;
  static inline constinit MapSide map_side;
  static inline constinit ReduceSide reduce_side;
  static inline constinit Results results;
  static inline constinit ReduceOutput reduce_output{nullptr, 0, 0, 0};

  using ByValue = std::conditional_t<std::is_scalar_v<V>, V, V&&>;

  template <class U>
  static void to_shuffle(std::string_view key, U&& value) {
    map_side.template put<U>(reinterpret_cast<const u8*>(key.data()), static_cast<u32>(key.size()),
                             std::forward<U>(value));
  }

  static void reduce_key(std::string_view key, Values<V>& values, Emitter<R>& out) {
    using Key = typename Reduce::KeyText;
    results.start_key(key);
    typename Key::Owner owned(key);
    if constexpr (F::Reduce::thesis) {
      std::vector<V> all = Access::all(values);
      const std::pair<std::string, R> result =
          Author::reduce(Key::pass(owned), static_cast<typename Reduce::Values>(all));
      results.add(result.first, result.second);
    } else {
      Author::reduce(Key::pass(owned), values, out);
    }
  }

 public:
  /// Implements `Emitter::emit`.
  template <class U, class E>
  static void put(const Emitter<E>& emitter, std::string_view key, U&& value) {
    const Stage stage = Access::stage(emitter);
    if constexpr (std::same_as<E, V>) {
      if (stage == Stage::map) [[likely]] return to_shuffle<U>(key, std::forward<U>(value));
    }
    if constexpr (std::same_as<E, R>) {
      if (stage == Stage::reduce) return results.add(key, value);
    }
  }

  static u8* alloc(u32 bytes) { return inbox.room(bytes); }

  static std::int32_t map(const char* bytes, u32 length) {
    return guarded([=] {
      using Document = typename Map::Document;
      typename Document::Owner document(bytes, length);
      if constexpr (F::Map::thesis) {
        auto pairs = Author::map(Document::pass(document));
        for (auto& [key, value] : pairs) to_shuffle<ByValue>(key, std::move(value));
      } else {
        auto out = Access::emitter<V>(Stage::map);
        Author::map(Document::pass(document), out);
      }
    });
  }

  /// Null on failure.
  static MapOutput* map_finish(u32 buckets) {
    return guarded([=] { map_side.finish(buckets); }) == 0 ? &map_output : nullptr;
  }

  static std::int32_t reduce_feed(const u8* bytes, u32 length) {
    if constexpr (ReduceSide::keeps_bytes) inbox.keep();
    return guarded([=] { reduce_side.feed(bytes, length); });
  }

  static ReduceOutput* reduce_finish() {
    const std::int32_t status = guarded([] {
      auto out = Access::emitter<R>(Stage::reduce);
      const Sortable* keys = sorted_keys(reduce_side.table);
      for (u32 i = 0; i < reduce_side.table.size(); ++i) {
        auto& row = ReduceSide::Row::of_key(keys[i].key);
        auto values = ReduceSide::values(row);
        reduce_key(row.text(), values, out);
      }
      results.finish();
    });
    reduce_output = {results.data(), results.size(), results.count(), status};
    return &reduce_output;
  }
};

/// Stubs for a job that glue.hpp reports an error for, so that no other error follows from it.
template <class Author>
class Job<Author, false> {
 public:
  template <class U, class E>
  static void put(const Emitter<E>&, std::string_view, U&&) {}
  static u8* alloc(u32) { return nullptr; }
  static std::int32_t map(const char*, u32) { return 1; }
  static MapOutput* map_finish(u32) { return nullptr; }
  static std::int32_t reduce_feed(const u8*, u32) { return 1; }
  static ReduceOutput* reduce_finish() { return nullptr; }
};

}  // namespace webmesh::detail
