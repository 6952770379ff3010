// Attributes for functions that jobs cannot use. The compiler shows the text at the author's line
// (compiler-service/src/diagnostics.rs). In a header of its own, because the SDK's wrappers of C headers include it
// too.
#pragma once

#define WEBMESH_NO_FILES \
  __attribute__((unavailable("WebMesh: jobs have no files: take the data from the document, or put it in the source")))
#define WEBMESH_NO_PROCESSES \
  __attribute__((unavailable("WebMesh: jobs have no processes: remove the code that starts or signals one")))
#define WEBMESH_NO_THREADS \
  __attribute__((unavailable("WebMesh: jobs have no threads: compute sequentially; the mesh runs tasks in parallel")))
#define WEBMESH_NO_SLEEP \
  __attribute__((unavailable("WebMesh: jobs cannot sleep or wait: the clock stands still in a task; remove the call")))
#define WEBMESH_NO_JUMPS \
  __attribute__((unavailable("WebMesh: jobs have no setjmp and longjmp: use throw and catch")))
#define WEBMESH_NO_NETWORK \
  __attribute__((unavailable("WebMesh: jobs have no network: take the data from the document")))

namespace webmesh::detail {

/// Return type of unavailable functions. Converts to any type, so that the only error is the use of the function.
struct Anything {
  template <class T>
  operator T() const;
};

}  // namespace webmesh::detail
