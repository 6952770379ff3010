// The `_initialize` of the module: runs the constructors of the job's global variables.
//
// It replaces the C library's crt1-reactor.o, in which an exception would be a trap without a text.
#include "errors.hpp"

extern "C" void __wasm_call_ctors();

namespace webmesh::detail {

bool start_failed = false;

}  // namespace webmesh::detail

extern "C" [[clang::export_name("_initialize")]] void _initialize() {
  try {
    __wasm_call_ctors();
  } catch (...) {
    // `_initialize` has no status, so the next call fails with this text.
    webmesh::detail::start_failed = true;
    webmesh::detail::describe_exception("in the initialiser of a global variable: ");
  }
}
