// The compiler service puts this after the author's source, where the author's functions are declared.
//
// The author's macros cannot affect this text: every name in it is undefined first (toolchain/manifest.py). From the
// file names in the #line directives, the compiler service learns which of the author's functions a message is about
// (compiler-service/src/diagnostics.rs).

using namespace webmesh::absent;

namespace webmesh::detail {

#line 1 "webmesh:map"
struct AuthorsMap {
  template <class Pattern>
  static auto map_matching(Pattern pattern) -> decltype(matching(&::map, pattern));
  template <class... A>
  static auto map(A&&... arguments) -> decltype(::map(std::forward<A>(arguments)...)) {
    return ::map(std::forward<A>(arguments)...);
  }
};
#line 1 "webmesh:reduce"
struct AuthorsReduce {
  template <class Pattern>
  static auto reduce_matching(Pattern pattern) -> decltype(matching(&::reduce, pattern));
  template <class... A>
  static auto reduce(A&&... arguments) -> decltype(::reduce(std::forward<A>(arguments)...)) {
    return ::reduce(std::forward<A>(arguments)...);
  }
};
#line 1 "webmesh:combine"
struct AuthorsCombine {
  template <class Pattern>
  static auto combine_matching(Pattern pattern) -> decltype(matching(&::combine, pattern));
  template <class... A>
  static auto combine(A&&... arguments) -> decltype(::combine(std::forward<A>(arguments)...)) {
    return ::combine(std::forward<A>(arguments)...);
  }
};
#line 1 "webmesh:job"
struct Author : AuthorsMap, AuthorsReduce, AuthorsCombine {};
using ThisJob = Job<Author>;

#line 1 "webmesh:map"
static_assert(map_mistake<Author>().empty(), map_mistake<Author>());
using MapWidth = CheckedWidth<Widths<Author>::map>::type;
#line 1 "webmesh:reduce"
static_assert(reduce_mistake<Author>().empty(), reduce_mistake<Author>());
using ReduceWidth = CheckedWidth<Widths<Author>::reduce>::type;
#line 1 "webmesh:combine"
static_assert(combine_mistake<Author>().empty(), combine_mistake<Author>());

#line 1 "webmesh:job"
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
