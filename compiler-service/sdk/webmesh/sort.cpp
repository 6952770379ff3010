// A merge sort.
#include "sort.hpp"

namespace webmesh::detail {

namespace {

/// Below, at or above zero, as memcmp; of two that begin alike the shorter one is first.
int compare_bytes(const u8* left, u32 left_length, const u8* right, u32 right_length) {
  const u32 common = std::min(left_length, right_length);
  u32 at = 0;
  for (; at + 8 <= common; at += 8) {
    const u64 a = sort_head(load8(left + at)), b = sort_head(load8(right + at));
    if (a != b) return a < b ? -1 : 1;
  }
  for (; at < common; ++at) {
    if (left[at] != right[at]) return left[at] < right[at] ? -1 : 1;
  }
  return (left_length > right_length) - (left_length < right_length);
}

/// The order of keys whose heads are alike, and of equal keys by the value that stands behind each: its length as a
/// varint and its bytes, as in a result record. Keys of a table are never equal.
bool comes_first_by_tail(const Sortable& left, const Sortable& right) {
  const int order = compare_bytes(left.key, left.length, right.key, right.length);
  if (order != 0) return order < 0;
  Reader a(left.key + left.length, UINT32_MAX >> 1), b(right.key + right.length, UINT32_MAX >> 1);
  const u32 a_length = a.varint32(), b_length = b.varint32();
  return compare_bytes(a.take(a_length), a_length, b.take(b_length), b_length) < 0;
}
bool comes_first(const Sortable& left, const Sortable& right) {
  if (left.head != right.head) [[likely]] return left.head < right.head;
  return comes_first_by_tail(left, right);
}

/// Merges two sorted stretches that lie side by side into `out`.
void merge(const Sortable* left, const Sortable* middle, const Sortable* end, Sortable* out) {
  const Sortable* right = middle;
  while (left != middle && right != end) {
    // Without a branch on the outcome, which nobody can foretell.
    const bool take_right = comes_first(*right, *left);
    *out++ = *(take_right ? right : left);
    right += take_right;
    left += !take_right;
  }
  std::copy(right, end, std::copy(left, middle, out));
}

}  // namespace

// Merging is as quick as any on keys in chance order, quicker on those that nearly are in order, never quadratic, and a
// tenth of the code of std::sort.
void sort_keys(Sortable* keys, u32 count) {
  constexpr u32 kRun = 8;
  for (u32 start = 0; start < count; start += kRun) {
    const u32 end = std::min(start + kRun, count);
    for (u32 i = start + 1; i < end; ++i) {
      const Sortable moving = keys[i];
      u32 hole = i;
      for (; hole > start && comes_first(moving, keys[hole - 1]); --hole) keys[hole] = keys[hole - 1];
      keys[hole] = moving;
    }
  }
  if (count <= kRun) return;
  auto* spare = reinterpret_cast<Sortable*>(allocate(std::size_t{count} * sizeof(Sortable)));
  Sortable* from = keys;
  Sortable* to = spare;
  for (u32 width = kRun; width < count; width *= 2) {
    for (u32 start = 0; start < count; start += 2 * width) {
      const u32 middle = std::min(start + width, count), end = std::min(middle + width, count);
      merge(from + start, from + middle, from + end, to + start);
    }
    std::swap(from, to);
  }
  if (from != keys) std::copy(from, from + count, keys);
  std::free(spare);
}

}  // namespace webmesh::detail
