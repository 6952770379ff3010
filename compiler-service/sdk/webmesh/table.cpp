// Slow path of table.hpp.
#include "table.hpp"

namespace webmesh::detail {

u64 load_short_bytewise(const u8* at, u32 length) {
  u64 word = 0;
  for (u32 i = 0; i < length; ++i) word |= u64{at[i]} << (8 * i);
  return word;
}

}  // namespace webmesh::detail
