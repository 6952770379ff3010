// The texts of long doubles, in a file of their own: what they need of the C library is 30 KB, which no other job has.
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "json.hpp"

namespace webmesh::detail {

void write_json_number(Buffer& out, long double value) {
  // The fewest digits that read back the same. `std::to_chars` knows no more of a long double than of a double.
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
