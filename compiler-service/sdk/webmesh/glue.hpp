// What the compiler service puts behind the author's source: here all that the author wrote is known.

void map(webmesh::detail::Blank, webmesh::detail::Blank, webmesh::detail::Blank, webmesh::detail::Blank,
         webmesh::detail::Blank, webmesh::detail::Blank);
void reduce(webmesh::detail::Blank, webmesh::detail::Blank, webmesh::detail::Blank, webmesh::detail::Blank,
            webmesh::detail::Blank, webmesh::detail::Blank);
void combine(webmesh::detail::Blank, webmesh::detail::Blank, webmesh::detail::Blank, webmesh::detail::Blank,
             webmesh::detail::Blank, webmesh::detail::Blank);

namespace webmesh::detail {

struct Author {
  using MapOfOne = decltype(with_one_argument(&::map, 0));
  using MapOfTwo = decltype(with_two_arguments(&::map, 0));
  using ReduceOfTwo = decltype(with_two_arguments(&::reduce, 0));
  using ReduceOfThree = decltype(with_three_arguments(&::reduce, 0));
  using CombineOfTwo = decltype(with_two_arguments(&::combine, 0));

  template <class... A>
  static decltype(auto) map(A&&... arguments) {
    return ::map(std::forward<A>(arguments)...);
  }
  template <class... A>
  static decltype(auto) reduce(A&&... arguments) {
    return ::reduce(std::forward<A>(arguments)...);
  }
  template <class... A>
  static decltype(auto) combine(A&&... arguments) {
    return ::combine(std::forward<A>(arguments)...);
  }
};
using ThisJob = Job<Author>;

inline constexpr bool functions_fit = mistake<Author>().empty();
static_assert(functions_fit, mistake<Author>());

}  // namespace webmesh::detail

template <class V>
template <class U>
void webmesh::Emitter<V>::put(std::string_view key, U value) {
  detail::ThisJob::put(*this, key, std::forward<U>(value));
}

extern "C" {
[[clang::export_name("webmesh_abi")]] int webmesh_abi() { return webmesh::detail::kAbi; }
[[clang::export_name("webmesh_alloc")]] void* webmesh_alloc(unsigned length) {
  return webmesh::detail::ThisJob::alloc(length);
}
[[clang::export_name("webmesh_map")]] int webmesh_map(const char* bytes, unsigned length) {
  return webmesh::detail::ThisJob::map(bytes, length);
}
[[clang::export_name("webmesh_map_finish")]] void* webmesh_map_finish(unsigned buckets) {
  return webmesh::detail::ThisJob::map_finish(buckets);
}
[[clang::export_name("webmesh_reduce_feed")]] int webmesh_reduce_feed(const unsigned char* bytes, unsigned length) {
  return webmesh::detail::ThisJob::reduce_feed(bytes, length);
}
[[clang::export_name("webmesh_reduce_finish")]] void* webmesh_reduce_finish() {
  return webmesh::detail::ThisJob::reduce_finish();
}
[[clang::export_name("webmesh_error")]] const void* webmesh_error() { return &webmesh::detail::last_error; }
}
