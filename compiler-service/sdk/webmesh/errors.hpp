// How a failure reaches the host: a status, and a text behind `webmesh_error`.
#pragma once

#include <cstdint>
#include <string_view>

#include "bytes.hpp"

namespace webmesh::detail {

/// What `webmesh_error` points to (docs/guest-abi.md).
struct ErrorText {
  const char* data;
  u32 length;
};
extern ErrorText last_error;

/// Whether the job's global variables could not be made; `last_error` tells why.
extern bool start_failed;

/// Turns the exception that is being handled into the text of the error, which begins with `where`.
void describe_exception(std::string_view where = {});

/// Runs a step of the conversation with the host; returns its status: 0, or 1 with the error told.
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
