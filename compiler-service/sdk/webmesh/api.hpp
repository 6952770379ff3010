// What a job in the fast form is written against: Emitter and Values.
#pragma once

#include <concepts>
#include <cstddef>
#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

#include "codec.hpp"

namespace webmesh {

namespace detail {

/// Where an emitter's pairs go: a map's to the shuffle, a reduce's to the results.
enum class Stage : u8 { map, reduce };

struct Access;

}  // namespace detail

/// Takes the pairs that `map` or `reduce` yields. `V` is any type that can be stored (docs/writing-jobs.md).
///
/// `emit` copies the key and keeps or copies the value: neither needs to outlive the call.
template <class V>
class Emitter {
 public:
  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  /// Yields one pair. The key is any bytes, the empty ones too.
  void emit(std::string_view key, const V& value) { put<Passed>(key, value); }
  void emit(std::string_view key, V&& value) { put<V&&>(key, std::move(value)); }

 private:
  friend struct detail::Access;
  using Passed = std::conditional_t<std::is_scalar_v<V>, V, const V&>;

  explicit Emitter(detail::Stage stage) : stage_(stage) {}

  /// Defined in glue.hpp, behind the author's functions: only there is it known whether there is a `combine`.
  template <class U>
  void put(std::string_view key, U value);

  detail::Stage stage_;
};

/// The same for a type that cannot be stored: it takes anything, so that nothing is complained about but the type
/// itself (by glue.hpp).
template <class V>
  requires(!detail::kStorable<V>)
class Emitter<V> {
 public:
  void emit(std::string_view, const std::conditional_t<std::is_void_v<V>, int, std::remove_reference_t<V>>&) {}
  template <class... A>
  void emit(const A&...) {}
};

/// The values of one key, read one after another while they are walked: `for (auto& value : values)`.
///
/// They come task by task, and within a task in the order in which they were emitted. Each `begin()` starts again. With
/// a `combine` there is one value, which stays moved from once it was.
template <class V>
class Values {
 public:
  class Iterator {
   public:
    using value_type = V;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    V& operator*() const { return values_->current_; }
    V* operator->() const { return &values_->current_; }
    Iterator& operator++() {
      values_->step();
      return *this;
    }
    void operator++(int) { values_->step(); }
    bool operator==(std::default_sentinel_t) const { return values_->done_; }

   private:
    friend class Values;
    explicit Iterator(Values* values) : values_(values) {}
    Values* values_;
  };

  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;

  /// How many values there are.
  std::size_t size() const { return count_; }
  Iterator begin() {
    done_ = false;
    if (bytes_ != nullptr) {
      reader_ = detail::Reader(bytes_, length_);
      left_ = count_;
      step();
    }
    return Iterator(this);
  }
  std::default_sentinel_t end() const { return {}; }

 private:
  friend struct detail::Access;

  Values(const detail::u8* bytes, detail::u32 length, detail::u32 count)
      : bytes_(bytes), length_(length), count_(count) {}
  explicit Values(V&& combined) : count_(1), current_(std::move(combined)) {}

  void step() {
    if (left_ == 0) {
      check_end();
      done_ = true;
      return;
    }
    detail::read(reader_, current_);
    --left_;
  }
  void check_end() const {
    if (reader_.left() != 0) detail::Reader::fail("a key has more bytes than its values need");
  }

  /// All values at once.
  std::vector<V> all() {
    if constexpr (std::same_as<V, bool>) {  // whose elements are bits, which nothing can be read into
      std::vector<V> bits;
      bits.reserve(count_);
      for (const bool bit : *this) bits.push_back(bit);
      return bits;
    } else {
      std::vector<V> values(count_);
      if (bytes_ == nullptr) {
        values[0] = std::move(current_);
        return values;
      }
      reader_ = detail::Reader(bytes_, length_);
      for (V& value : values) detail::read(reader_, value);
      check_end();
      return values;
    }
  }

  const detail::u8* bytes_ = nullptr;  // none where the value was combined and stands in `current_`
  detail::u32 length_ = 0;
  detail::u32 count_;
  detail::Reader reader_{nullptr, 0};
  detail::u32 left_ = 0;
  bool done_ = false;
  V current_{};
};

/// The same for a type that cannot be stored, and for the same reason.
template <class V>
  requires(!detail::kStorable<V>)
class Values<V> {
 public:
  std::size_t size() const;
  std::remove_reference_t<V>* begin();
  std::remove_reference_t<V>* end();
};

namespace detail {

/// The runtime's way to make what authors are only handed.
struct Access {
  template <class V>
  static Emitter<V> emitter(Stage stage) {
    return Emitter<V>(stage);
  }
  template <class V>
  static Stage stage(const Emitter<V>& emitter) {
    return emitter.stage_;
  }
  template <class V, class... A>
  static Values<V> values(A&&... parts) {
    return Values<V>(std::forward<A>(parts)...);
  }
  template <class V>
  static std::vector<V> all(Values<V>& values) {
    return values.all();
  }
};

}  // namespace detail
}  // namespace webmesh
