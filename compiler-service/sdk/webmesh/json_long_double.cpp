// long double as JSON text. In its own object file, because it needs 30 KB of the C library, which other jobs do not
// link.
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "json.hpp"

namespace webmesh::detail {

void write_json_number(Buffer& out, long double value) {
  // The fewest digits that parse to the same value. libc++'s `std::to_chars` converts a long double to double first.
  char text[64];
  for (int digits = 1;; ++digits) {
    const int length = std::snprintf(text, sizeof text, "%.*Lg", digits, value);
    if (digits == std::numeric_limits<long double>::max_digits10 || std::strtold(text, nullptr) == value) {
      out.append({text, static_cast<std::size_t>(length)});
      return;
    }
  }
}

}  // namespace webmesh::detail
