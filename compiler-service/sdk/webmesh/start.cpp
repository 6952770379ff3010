// The module's first function: runs the constructors of the job's global variables.
//
// It stands in for the C library's crt1-reactor.o, out of which an exception would leave without its text.
#include "errors.hpp"

extern "C" void __wasm_call_ctors();

namespace webmesh::detail {

bool start_failed = false;

}  // namespace webmesh::detail

extern "C" [[clang::export_name("_initialize")]] void _initialize() {
  try {
    __wasm_call_ctors();
  } catch (...) {
    // The host asks for the text at its first call, which fails by this.
    webmesh::detail::start_failed = true;
    webmesh::detail::describe_exception("in the initialiser of a global variable: ");
  }
}
