// The API of the fast form: Emitter and Values.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "codec.hpp"

namespace webmesh {

namespace detail {

/// Destination of an emitter's pairs: the shuffle for `map`, the results for `reduce`.
enum class Stage : u8 { map, reduce };

struct Access;

/// The encoded values of one key from one segment, as a node of a linked list.
struct Fragment {
  Fragment* next;
  const u8* bytes;
  u32 length;
  u32 count;
};

/// Decodes the values of all fragments into the array at `at`, which has room for the sum of the fragments' counts.
template <class V>
void decode(const Fragment* fragment, V* at) {
  for (; fragment != nullptr; fragment = fragment->next) {
    Reader from(fragment->bytes, fragment->length);
    for (u32 left = fragment->count; left != 0; --left) read(from, *at++);
    if (from.left() != 0) Reader::fail("a record has bytes left after its values");
  }
}

/// Decodes into an array that is reused by the next call for this type: most keys have few values, and strings keep
/// their allocations.
template <class V>
V* decode_reusing(const Fragment* fragments, u32 count) {
  static constinit V* objects = nullptr;
  static constinit u32 capacity = 0;
  if (count > capacity) {
    // Doubled while small, so that keys with increasing numbers of values do not each allocate; then exactly as needed.
    constexpr u32 kMaxDoubled = 4096;
    delete[] std::exchange(objects, nullptr);
    const u32 wanted = std::max(count, std::min(std::exchange(capacity, 0) * 2, kMaxDoubled));
    objects = new V[wanted]();
    capacity = wanted;
  }
  decode(fragments, objects);
  return objects;
}

}  // namespace detail

/// Receives the pairs that `map` or `reduce` yields. `V` is any type that can be stored (docs/writing-jobs.md).
template <class V>
class Emitter {
 public:
  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  /// Yields one pair. The key may have any bytes, or none. Key and value are copied or moved: neither has to outlive
  /// the call.
  void emit(std::string_view key, const V& value) { put<Passed>(key, value); }
  void emit(std::string_view key, V&& value) { put<V&&>(key, std::move(value)); }

 private:
  friend struct detail::Access;
  using Passed = std::conditional_t<std::is_scalar_v<V>, V, const V&>;

  explicit Emitter(detail::Stage stage) : stage_(stage) {}

  /// Defined in glue.hpp, after the author's functions, because it depends on whether there is a `combine`.
  template <class U>
  void put(std::string_view key, U value);

  detail::Stage stage_;
};

/// Specialization for types that cannot be stored. Accepts any arguments, so that the only error is glue.hpp's
/// static_assert about the type.
template <class V>
  requires(!detail::kStorable<V>)
class Emitter<V> {
 public:
  void emit(std::string_view, const std::conditional_t<std::is_void_v<V>, int, std::remove_reference_t<V>>&) {}
  template <class... A>
  void emit(const A&...) {}
};

/// The values of one key, with the interface of a std::vector: `for (auto& value : values)`, by index, or by any
/// algorithm.
///
/// Ordered by map task, and within a task in the order of emission; with a `combine` there is a single value. Decoded
/// at the first access. Iterators, references and pointers are valid until `reduce` returns.
template <class V>
class Values {
 public:
  using value_type = V;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = V&;
  using const_reference = const V&;
  using iterator = V*;
  using const_iterator = const V*;

  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;

  /// Number of values; at least one.
  std::size_t size() const { return count_; }
  bool empty() const { return count_ == 0; }

  V* begin() { return decoded(); }
  V* end() { return decoded() + count_; }
  const V* begin() const { return decoded(); }
  const V* end() const { return decoded() + count_; }
  const V* cbegin() const { return decoded(); }
  const V* cend() const { return decoded() + count_; }

  /// The value at `index`, which must be below `size()`.
  V& operator[](std::size_t index) { return decoded()[index]; }
  const V& operator[](std::size_t index) const { return decoded()[index]; }
  V& front() { return decoded()[0]; }
  V& back() { return decoded()[count_ - 1]; }
  const V& front() const { return decoded()[0]; }
  const V& back() const { return decoded()[count_ - 1]; }

 private:
  friend struct detail::Access;

  Values(const detail::Fragment* fragments, detail::u32 count) : fragments_(fragments), count_(count) {}
  explicit Values(V& combined) : count_(1), decoded_(&combined) {}

  V* decoded() const {
    if (decoded_ == nullptr) [[unlikely]] decoded_ = detail::decode_reusing<V>(fragments_, count_);
    return decoded_;
  }

  /// Moves or decodes all values into a vector, for a `reduce` in the vector form.
  std::vector<V> all() {
    if constexpr (std::same_as<V, bool>) {  // a vector<bool> has no bool objects to decode into
      return std::vector<V>(begin(), end());
    } else {
      std::vector<V> values(count_);
      if (decoded_ != nullptr) {
        values[0] = std::move(*decoded_);
      } else {
        detail::decode(fragments_, values.data());
      }
      return values;
    }
  }

  const detail::Fragment* fragments_ = nullptr;  // null for a combined value
  detail::u32 count_;
  mutable V* decoded_ = nullptr;
};

/// Specialization for types that cannot be stored, for the same reason as Emitter's.
template <class V>
  requires(!detail::kStorable<V>)
class Values<V> {
 public:
  std::size_t size() const;
  std::remove_reference_t<V>* begin();
  std::remove_reference_t<V>* end();
};

namespace detail {

/// Gives the runtime access to the private members of Emitter and Values.
struct Access {
  template <class V>
  static Emitter<V> emitter(Stage stage) {
    return Emitter<V>(stage);
  }
  template <class V>
  static Stage stage(const Emitter<V>& emitter) {
    return emitter.stage_;
  }
  template <class V>
  static Values<V> values(const Fragment* fragments, u32 count) {
    return Values<V>(fragments, count);
  }
  template <class V>
  static Values<V> values(V& combined) {
    return Values<V>(combined);
  }
  template <class V>
  static std::vector<V> all(Values<V>& values) {
    return values.all();
  }
};

}  // namespace detail
}  // namespace webmesh
