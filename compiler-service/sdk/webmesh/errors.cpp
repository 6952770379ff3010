// Turns exceptions into error texts.
#include "errors.hpp"

#include <cxxabi.h>

#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>

namespace webmesh::detail {

ErrorText last_error{nullptr, 0};

namespace {

constinit Buffer error_buffer;

void publish_error() {
  last_error = {reinterpret_cast<const char*>(error_buffer.data()), error_buffer.size()};
}

/// Reports that memory is exhausted, without allocating any.
void set_out_of_memory() {
  static constexpr std::string_view kText = "out of memory: the task needs more than its memory limit";
  last_error = {kText.data(), static_cast<u32>(kText.size())};
}

/// Appends the demangled name of a type: `St12out_of_range` is std::out_of_range, `N4data5ErrorE` is data::Error. Names
/// of any other form, such as those of templates, are appended mangled: a full demangler adds 60 KB to every module.
void append_type_name(Buffer& out, const char* mangled) {
  const u32 start = out.size();
  const char* at = mangled;
  const bool nested = *at == 'N';
  if (nested) ++at;
  bool more = false;
  if (at[0] == 'S' && at[1] == 't') {
    out.append("std");
    at += 2;
    more = true;
  }
  while (*at >= '1' && *at <= '9') {
    u32 length = 0;
    for (; *at >= '0' && *at <= '9'; ++at) length = length * 10 + static_cast<u32>(*at - '0');
    if (length > std::strlen(at)) break;
    // libc++'s inline namespace within std.
    const bool inner = at[0] == '_' && at[1] == '_' && out.text().substr(start) == "std";
    if (inner) {
      at += length;
      continue;
    }
    if (std::exchange(more, true)) out.append("::");
    out.append({at, length});
    at += length;
  }
  if (nested && *at == 'E') ++at;
  if (*at == '\0') return;
  out.commit(out.data() + start);
  out.append(mangled);
}

}  // namespace

void describe_exception(std::string_view where) {
  try {
    error_buffer.clear();
    error_buffer.append(where);
    try {
      throw;
    } catch (const std::bad_alloc&) {
      return set_out_of_memory();
    } catch (const Malformed& broken) {
      error_buffer.append("the records passed to the module are malformed: ");
      error_buffer.append(broken.what());
    } catch (const std::exception& error) {
      // Includes the type's name, since many texts, such as that of `.at()`, are unclear without it.
      append_type_name(error_buffer, typeid(error).name());
      error_buffer.append(": ");
      error_buffer.append(error.what());
    } catch (const char* text) {
      error_buffer.append(text == nullptr ? "a null pointer was thrown" : text);
    } catch (const std::string& text) {
      error_buffer.append(text);
    } catch (...) {
      const std::type_info* type = abi::__cxa_current_exception_type();
      error_buffer.append("an exception not derived from std::exception, of type ");
      append_type_name(error_buffer, type == nullptr ? "unknown" : type->name());
    }
    publish_error();
  } catch (const std::bad_alloc&) {
    set_out_of_memory();
  }
}

}  // namespace webmesh::detail
