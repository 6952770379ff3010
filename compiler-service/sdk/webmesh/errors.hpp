// Reports failures to the host: a status, and the text that `webmesh_error` returns.
#pragma once

#include <cstdint>
#include <string_view>

#include "bytes.hpp"

namespace webmesh::detail {

/// The struct that `webmesh_error` returns the address of (docs/guest-abi.md).
struct ErrorText {
  const char* data;
  u32 length;
};
extern ErrorText last_error;

/// Whether the initialiser of a global variable threw; `last_error` has the text.
extern bool start_failed;

/// Sets `last_error` to `where`, followed by the text of the exception that is being handled.
void describe_exception(std::string_view where = {});

/// Runs the body of an export. Returns 0, or 1 with `last_error` set if it throws or the start failed.
template <class Step>
std::int32_t guarded(Step step) {
  if (start_failed) [[unlikely]] return 1;
  try {
    step();
    return 0;
  } catch (...) {
    describe_exception();
    return 1;
  }
}

}  // namespace webmesh::detail
