// The encoding of values between map and reduce. Values are only decoded by the module that encoded them, so the
// encoding is compact and has no field names: integers as varints, fields in the order of declaration.
//
//   bool, 8-bit integers      one byte
//   unsigned, signed integers varint, zigzag varint
//   float, double, long double   4, 8, 16 bytes little-endian; one canonical NaN, whatever engine computed it
//   enum                      its underlying integer
//   string, containers        varint of the number of bytes or elements, then these
//   optional                  one byte (0 or 1), then the value if 1
//   variant                   varint of the index, then the value
//   pair, tuple, struct, arrays   their fields or elements in order
#pragma once

#include <limits>

#include "bytes.hpp"
#include "traits.hpp"

namespace webmesh::detail {

template <Integer T>
constexpr u64 to_wire(T value) {
  if constexpr (std::is_signed_v<T>) {
    const auto wide = static_cast<std::int64_t>(value);
    return (static_cast<u64>(wide) << 1) ^ static_cast<u64>(wide >> 63);
  } else {
    return value;
  }
}

template <Float T>
T to_wire(T value) {
  return value == value ? value : std::numeric_limits<T>::quiet_NaN();
}

/// Upper bound of the encoded size in bytes if the type determines one and it is small; otherwise 0. Values with a
/// bound are written without computing their size first.
template <class T>
consteval u32 bounded_size() {
  constexpr u32 kSmall = 64;
  if constexpr (std::same_as<T, bool> || (Integer<T> && sizeof(T) == 1)) {
    return 1;
  } else if constexpr (Integer<T>) {
    return (sizeof(T) * 8 + 6) / 7;
  } else if constexpr (Float<T>) {
    return sizeof(T);
  } else if constexpr (Enum<T>) {
    return bounded_size<std::underlying_type_t<T>>();
  } else if constexpr (Struct<T>) {
    return []<class... F>(TypeList<F...>) -> u32 {
      if constexpr (((bounded_size<F>() != 0) && ...)) {
        const u32 sum = (bounded_size<F>() + ... + 0);
        return sum <= kSmall ? sum : 0;
      } else {
        return 0;
      }
    }(decltype(field_types(std::declval<T&>())){});
  } else {
    return 0;
  }
}

/// Lower bound of the encoded size in bytes. A count that exceeds the bytes that follow divided by this is malformed,
/// and is refused before memory is allocated for it.
template <class T>
consteval u32 least_size() {
  if constexpr (Float<T>) {
    return sizeof(T);
  } else if constexpr (std::same_as<T, std::monostate>) {
    return 0;
  } else if constexpr (FixedArray<T>) {
    if constexpr (std::is_bounded_array_v<T>) {
      return static_cast<u32>(std::extent_v<T>) * least_size<Element<T>>();
    } else {
      return static_cast<u32>(std::tuple_size_v<T>) * least_size<Element<T>>();
    }
  } else if constexpr (Struct<T>) {
    return []<class... F>(TypeList<F...>) -> u32 {
      return (least_size<F>() + ... + 0);
    }(decltype(field_types(std::declval<T&>())){});
  } else {
    return 1;
  }
}

/// The number of bytes that `write` writes.
template <class T>
u32 encoded_size(const T& value) {
  if constexpr (std::same_as<T, bool> || (Integer<T> && sizeof(T) == 1)) {
    return 1;
  } else if constexpr (Integer<T>) {
    return varint_size(to_wire(value));
  } else if constexpr (Float<T>) {
    return sizeof(T);
  } else if constexpr (Enum<T>) {
    return encoded_size(static_cast<std::underlying_type_t<T>>(value));
  } else if constexpr (Text<T>) {
    return varint_size(value.size()) + static_cast<u32>(value.size());
  } else if constexpr (std::same_as<T, std::monostate>) {
    return 0;
  } else if constexpr (Optional<T>) {
    return 1 + (value ? encoded_size(*value) : 0);
  } else if constexpr (Variant<T>) {
    return varint_size(value.index()) + std::visit([](const auto& held) { return encoded_size(held); }, value);
  } else if constexpr (FixedArray<T>) {
    u32 sum = 0;
    for (const auto& element : value) sum += encoded_size(element);
    return sum;
  } else if constexpr (Dictionary<T>) {
    u32 sum = varint_size(value.size());
    for (const auto& [key, mapped] : value) sum += encoded_size(key) + encoded_size(mapped);
    return sum;
  } else if constexpr (Container<T>) {
    u32 sum = varint_size(value.size());
    for (const Element<T>& element : value) sum += encoded_size(element);
    return sum;
  } else {
    return with_fields(value, [](const auto&... fields) { return (encoded_size(fields) + ... + 0u); });
  }
}

/// Encodes a value at `at`; returns the end. Needs room for `encoded_size` bytes, or for `bounded_size` if that is not
/// 0.
template <class T>
u8* write(u8* at, const T& value) {
  if constexpr (std::same_as<T, bool> || (Integer<T> && sizeof(T) == 1)) {
    *at = static_cast<u8>(value);
    return at + 1;
  } else if constexpr (Integer<T>) {
    return write_varint(at, to_wire(value));
  } else if constexpr (Float<T>) {
    const T wire = to_wire(value);
    std::memcpy(at, &wire, sizeof wire);
    return at + sizeof wire;
  } else if constexpr (Enum<T>) {
    return write(at, static_cast<std::underlying_type_t<T>>(value));
  } else if constexpr (Text<T>) {
    const auto length = static_cast<u32>(value.size());
    return copy_bytes(write_varint(at, length), value.data(), length);
  } else if constexpr (std::same_as<T, std::monostate>) {
    return at;
  } else if constexpr (Optional<T>) {
    *at = value ? 1 : 0;
    return value ? write(at + 1, *value) : at + 1;
  } else if constexpr (Variant<T>) {
    at = write_varint(at, value.index());
    return std::visit([at](const auto& held) { return write(at, held); }, value);
  } else if constexpr (FixedArray<T>) {
    for (const auto& element : value) at = write(at, element);
    return at;
  } else if constexpr (Dictionary<T>) {
    at = write_varint(at, value.size());
    for (const auto& [key, mapped] : value) at = write(write(at, key), mapped);
    return at;
  } else if constexpr (Container<T>) {
    at = write_varint(at, value.size());
    for (const Element<T>& element : value) at = write(at, element);
    return at;
  } else {
    return with_fields(value, [at](const auto&... fields) mutable {
      (void)((at = write(at, fields)), ...);
      return at;
    });
  }
}

template <class T>
void read(Reader& from, T& value);

template <class T>
T read(Reader& from) {
  T value{};
  read(from, value);
  return value;
}

template <class T, std::size_t index = 0>
void read_alternative(Reader& from, T& value, u64 wanted) {
  if constexpr (index < std::variant_size_v<T>) {
    if (wanted != index) return read_alternative<T, index + 1>(from, value, wanted);
    read(from, value.template emplace<index>());
  } else {
    Reader::fail("the index of a variant is out of range");
  }
}

template <Integer T>
void read_integer(Reader& from, T& value) {
  const u64 wire = from.varint();
  if constexpr (std::is_signed_v<T>) {
    value = static_cast<T>(static_cast<std::int64_t>((wire >> 1) ^ (~(wire & 1) + 1)));
  } else {
    value = static_cast<T>(wire);
  }
  if (to_wire(value) != wire) [[unlikely]] Reader::fail("an integer is out of range for its type");
}

/// Decodes what `write` wrote. Throws Malformed if the bytes are not a valid encoding.
template <class T>
void read(Reader& from, T& value) {
  if constexpr (std::same_as<T, bool>) {
    value = from.byte() != 0;
  } else if constexpr (Integer<T> && sizeof(T) == 1) {
    value = static_cast<T>(from.byte());
  } else if constexpr (Integer<T>) {
    read_integer(from, value);
  } else if constexpr (Float<T>) {
    std::memcpy(&value, from.take(sizeof(T)), sizeof(T));
  } else if constexpr (Enum<T>) {
    value = static_cast<T>(read<std::underlying_type_t<T>>(from));
  } else if constexpr (Text<T>) {
    const u32 length = from.varint32();
    value.assign(reinterpret_cast<const char*>(from.take(length)), length);
  } else if constexpr (std::same_as<T, std::monostate>) {
    return;
  } else if constexpr (Optional<T>) {
    if (from.byte() == 0) return value.reset();
    read(from, value.emplace());
  } else if constexpr (Variant<T>) {
    read_alternative(from, value, from.varint());
  } else if constexpr (FixedArray<T>) {
    for (auto& element : value) read(from, element);
  } else if constexpr (Dictionary<T>) {
    value.clear();
    for (u32 left = from.varint32(); left != 0; --left) {
      auto key = read<typename T::key_type>(from);
      auto mapped = read<typename T::mapped_type>(from);
      value.insert(value.end(), typename T::value_type(std::move(key), std::move(mapped)));
    }
  } else if constexpr (Container<T>) {
    value.clear();
    u32 left = from.varint32();
    // Reserves at most one element per byte that is left, so that a malformed length does not allocate memory.
    if constexpr (requires { value.reserve(left); }) value.reserve(std::min(left, from.left()));
    for (; left != 0; --left) {
      auto element = read<Element<T>>(from);
      value.insert(value.end(), std::move(element));
    }
  } else {
    with_fields(value, [&from](auto&... fields) { (read(from, fields), ...); });
  }
}

}  // namespace webmesh::detail
