#!/usr/bin/env bash
# Builds the C++ to WebAssembly toolchain of the compiler service, as one directory:
#
#     build.sh [DEST]        default: ${XDG_DATA_HOME:-$HOME/.local/share}/webmesh/toolchain
#
#     DEST/sysroot           the C and C++ headers and libraries for wasm32-wasi; libc++ is rebuilt with exceptions
#     DEST/include           the guest's header, webmesh.hpp, and what it includes
#     DEST/webmesh.pch       that header and the standard library, precompiled
#     DEST/libwebmesh.a      the part of the guest's code that is the same in every job
#     DEST/toolchain.json    the compiler's command lines; written last, so if it exists, the rest is complete
#
# It does not need root: if Debian packages are missing, it says which ones to install. It does nothing if DEST is up to
# date, and rebuilds the libraries (a minute) only if necessary.
#
# The sources of libc++ come from a package of the Python registry, pinned in sources.txt. Without a network,
# set WEBMESH_LLVM_SOURCES to a directory with libcxx/, libcxxabi/, libunwind/ and libc/ of the same version, as LLVM's
# own source package has them.
set -euo pipefail

readonly llvm=/usr/lib/llvm-22
readonly triple=wasm32-wasi
readonly here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly sdk=$(cd "$here/../sdk" && pwd)
dest=${1:-${XDG_DATA_HOME:-$HOME/.local/share}/webmesh/toolchain}
mkdir -p "$dest"
readonly dest=$(cd "$dest" && pwd)

say() { printf 'toolchain: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# --- required packages -----------------------------------------------------------------------------------------------
missing=()
need() { [ -e "$1" ] || missing+=("$2"); }
need "$llvm/bin/clang" clang-22
need "$llvm/bin/wasm-ld" lld-22
need "$llvm/bin/llvm-ar" llvm-22
need "$llvm/lib/clang/22/lib/wasi/libclang_rt.builtins-wasm32.a" libclang-rt-22-dev-wasm32
need "/usr/include/$triple/c++/v1/__config" libc++-22-dev-wasm32
need "/usr/include/$triple/c++/v1/cxxabi.h" libc++abi-22-dev-wasm32
need "/usr/lib/$triple/libc.a" wasi-libc
need /usr/bin/python3 python3
if [ ${#missing[@]} -ne 0 ]; then
  fail "packages are missing; as root run: apt-get install --no-install-recommends ${missing[*]}"
fi

# Only one build at a time. A second one waits, and then finds DEST up to date.
exec 9>"$dest/.lock"
flock 9

# --- the versions: hashes of all inputs ------------------------------------------------------------------------------
# The libraries depend on the compiler, Debian's C library and the recipe; the precompiled header on the guest's header
# too. The version in the manifest covers both: it is part of the service's cache keys.
digest() { sha256sum | cut -d ' ' -f 1; }
digest_files() { (cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | digest); }
libraries_version=$({
  "$llvm/bin/clang" --version
  "$llvm/bin/wasm-ld" --version
  sha256sum "/usr/lib/$triple/libc.a" "$llvm/lib/clang/22/lib/wasi/libclang_rt.builtins-wasm32.a"
  sha256sum "/usr/include/$triple/c++/v1/__config" "/usr/include/$triple/c++/v1/__config_site"
  cat "$here/libraries.sh" "$here"/*.c "$here"/*.s "$here/sources.txt"
  printf '%s\n' "${WEBMESH_LLVM_SOURCES:-}"
} | digest)
version=$({
  printf '%s\n' "$libraries_version"
  cat "$here/manifest.py"
  digest_files "$sdk"
} | digest)

# Nothing in the directory has its path, so it may be moved.
if [ -f "$dest/toolchain.json" ] && grep -qF "\"version\": \"$version\"" "$dest/toolchain.json"; then
  say "$dest is up to date"
  exit 0
fi
rm -f "$dest/toolchain.json"

# --- the libraries ---------------------------------------------------------------------------------------------------
if [ "$(cat "$dest/sysroot/version" 2>/dev/null)" != "$libraries_version" ]; then
  say "building the C++ libraries with exceptions (about a minute) ..."
  rm -rf "$dest/sysroot" "$dest/build"
  LLVM=$llvm TRIPLE=$triple bash "$here/libraries.sh" "$dest/build"
  printf '%s' "$libraries_version" >"$dest/build/sysroot/version"
  mv "$dest/build/sysroot" "$dest/sysroot"
  rm -rf "$dest/build"
fi

# --- the guest's header and the command lines ------------------------------------------------------------------------
say "precompiling webmesh.hpp and the code that all jobs share ..."
rm -rf "$dest/include"
cp -rL "$sdk" "$dest/include"
python3 "$here/manifest.py" --llvm "$llvm" --triple "$triple" --dest "$dest" --version "$version"
say "$dest is ready"
