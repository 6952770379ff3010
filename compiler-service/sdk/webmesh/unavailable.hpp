// How the SDK says that jobs do not have something: the compiler shows the text at the author's line
// (compiler-service/src/diagnostics). Headers of the C library that an author includes need it again and again.
#pragma once

#define WEBMESH_NO_FILES \
  __attribute__((unavailable("WebMesh: jobs have no files: take what is needed from the document, or write it into the source")))
#define WEBMESH_NO_PROCESSES __attribute__((unavailable("WebMesh: jobs have no processes: leave out what starts or signals one")))
#define WEBMESH_NO_THREADS \
  __attribute__((unavailable("WebMesh: jobs have no threads: the mesh runs many tasks at once, so work directly instead")))
#define WEBMESH_NO_SLEEP \
  __attribute__((unavailable("WebMesh: jobs cannot sleep or wait: the clock stands still in a task, so leave it out")))
#define WEBMESH_NO_JUMPS __attribute__((unavailable("WebMesh: jobs have no setjmp and longjmp: use throw and catch")))
#define WEBMESH_NO_NETWORK __attribute__((unavailable("WebMesh: jobs have no network: take what is needed from the document")))

namespace webmesh::detail {

/// What an unavailable function gives back, so that nothing is complained about but the function itself.
struct Anything {
  template <class T>
  operator T() const;
};

}  // namespace webmesh::detail
