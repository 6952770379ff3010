// Strings and numbers as JSON text.
#include "json.hpp"

#include <charconv>

namespace webmesh::detail {

namespace {

/// The length in bytes of the UTF-8 character at `at`; 0 if the bytes are invalid (RFC 3629: no overlong forms, no
/// surrogates, nothing above U+10FFFF).
u32 utf8_length(const u8* at, const u8* end) {
  const u8 lead = *at;
  if (lead < 0x80) return 1;
  u32 length;
  u8 lowest = 0x80, highest = 0xbf;  // range of the second byte
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
  } else if ((lead & 0xf0) == 0xe0) {
    length = 3;
    if (lead == 0xe0) lowest = 0xa0;
    if (lead == 0xed) highest = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    if (lead == 0xf0) lowest = 0x90;
    if (lead == 0xf4) highest = 0x8f;
  } else {
    return 0;
  }
  if (static_cast<u32>(end - at) < length || at[1] < lowest || at[1] > highest) return 0;
  for (u32 i = 2; i < length; ++i) {
    if ((at[i] & 0xc0) != 0x80) return 0;
  }
  return length;
}

void write_json_escape(Buffer& out, u32 unit) {
  constexpr char kDigits[] = "0123456789abcdef";
  const char text[] = {'\\', 'u', kDigits[unit >> 12], kDigits[unit >> 8 & 15], kDigits[unit >> 4 & 15],
                       kDigits[unit & 15]};
  out.append({text, sizeof text});
}

template <class T>
void write_shortest(Buffer& out, T value) {
  constexpr u32 kLongest = 32;  // a double takes at most 24
  char* room = reinterpret_cast<char*>(out.reserve(kLongest));
  out.commit(reinterpret_cast<u8*>(std::to_chars(room, room + kLongest, value).ptr));
}

}  // namespace

void write_json_string(Buffer& out, std::string_view text) {
  const auto* at = reinterpret_cast<const u8*>(text.data());
  const u8* const end = at + text.size();
  out.push('"');
  while (at != end) {
    // Copies a run of characters that need no escape at once.
    const u8* plain = at;
    u32 length = 0;
    while (at != end && *at >= 0x20 && *at != '"' && *at != '\\' && (length = utf8_length(at, end)) != 0) at += length;
    out.append({reinterpret_cast<const char*>(plain), static_cast<std::size_t>(at - plain)});
    if (at == end) break;
    const u8 byte = *at++;
    switch (byte) {
      case '"': out.append("\\\""); break;
      case '\\': out.append("\\\\"); break;
      case '\n': out.append("\\n"); break;
      case '\r': out.append("\\r"); break;
      case '\t': out.append("\\t"); break;
      default: write_json_escape(out, byte < 0x20 ? byte : 0xdc00u + byte);
    }
  }
  out.push('"');
}

void write_json_number(Buffer& out, std::int64_t value) { write_shortest(out, value); }
void write_json_number(Buffer& out, u64 value) { write_shortest(out, value); }
void write_json_number(Buffer& out, float value) { write_shortest(out, value); }
void write_json_number(Buffer& out, double value) { write_shortest(out, value); }

}  // namespace webmesh::detail
