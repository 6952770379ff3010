#!/usr/bin/env bash
# Called by build.sh with LLVM and TRIPLE set: makes OUT/sysroot, where
#
#   - the headers and the C library are Debian's, copied with links followed: `--sysroot=/usr` would put the host's own
#     headers on the path;
#   - libc++.a holds libc++, libc++abi and libunwind, rebuilt with WebAssembly's exceptions in their final form
#     (exnref), which Debian's build of them leaves out.
set -euo pipefail
readonly out=$1
readonly here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly sysroot=$out/sysroot
mkdir -p "$sysroot/include" "$sysroot/lib" "$out/objects"
cp -rL "/usr/include/$TRIPLE" "$sysroot/include/$TRIPLE"
cp -rL "/usr/lib/$TRIPLE" "$sysroot/lib/$TRIPLE"
rm -f "$sysroot/lib/$TRIPLE/libc++.a" "$sysroot/lib/$TRIPLE/libc++abi.a"

# --- the sources -----------------------------------------------------------------------------------------------------
sources=${WEBMESH_LLVM_SOURCES:-}
if [ -z "$sources" ]; then
  # The wheel for one platform is named, whatever this machine is: only its sources are used.
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --platform manylinux_2_12_x86_64 --dest "$out/wheel" --requirement "$here/sources.txt" || {
    echo "toolchain: cannot download the sources of libc++ (see above). Where pip is missing: apt-get install" \
      "python3-pip. Without a network: set WEBMESH_LLVM_SOURCES, see build.sh" >&2
    exit 1
  }
  python3 - "$out" <<'PYTHON'
import glob, re, sys, zipfile
out = sys.argv[1]
wanted = re.compile(r"ziglang/lib/lib(cxx/src|cxx/libc|cxx/include/__config$|cxxabi|unwind)")
with zipfile.ZipFile(glob.glob(f"{out}/wheel/*.whl")[0]) as wheel:
    wheel.extractall(f"{out}/sources", [name for name in wheel.namelist() if wanted.match(name)])
PYTHON
  sources=$out/sources/ziglang/lib
fi
# Headers and sources must be of one version: libc++'s sources reach into the private parts of its headers.
libcxx_version() { sed -n 's/^# *define _LIBCPP_VERSION \([0-9]*\).*/\1/p' "$1"; }
installed=$(libcxx_version "$sysroot/include/$TRIPLE/c++/v1/__config")
fetched=$(libcxx_version "$sources/libcxx/include/__config")
if [ "${installed%??}" != "${fetched%??}" ]; then
  echo "toolchain: libc++-22-dev-wasm32 is version $installed, the sources of libc++ are $fetched: both must be of" \
    "one minor version" >&2
  exit 1
fi

# --- what is compiled ------------------------------------------------------------------------------------------------
# No threads, no file system: a guest has neither.
libcxx="algorithm any bind call_once charconv chrono error_category exception expected filesystem/filesystem_clock
  filesystem/filesystem_error filesystem/path fstream functional hash ios ios.instantiations iostream locale memory
  memory_resource new_handler new_helpers optional ostream print random random_shuffle regex ryu/d2fixed ryu/d2s ryu/f2s
  stdexcept string strstream system_error typeinfo valarray variant vector verbose_abort"
libcxxabi="cxa_aux_runtime cxa_default_handlers cxa_demangle cxa_exception cxa_exception_storage cxa_guard cxa_handlers
  cxa_personality cxa_vector cxa_virtual fallback_malloc private_typeinfo stdlib_exception stdlib_new_delete
  stdlib_stdexcept stdlib_typeinfo"

readonly common=("--target=$TRIPLE" -Wno-deprecated "--sysroot=$sysroot" -O2 -DNDEBUG -w -fno-ident
  "-ffile-prefix-map=$sources=/llvm" "-ffile-prefix-map=$sysroot=/sysroot"
  -fwasm-exceptions -mllvm -wasm-use-legacy-eh=false)
readonly cxx=("${common[@]}" -std=c++26 -fvisibility-inlines-hidden
  -D_LIBCPP_BUILDING_LIBRARY -DLIBCXX_BUILDING_LIBCXXABI -DLIBC_NAMESPACE=__llvm_libc_common_utils
  "-I$sources/libcxx/src" "-I$sources/libcxx/libc" "-I$sources/libc"
  "-I$sources/libcxxabi/include" "-I$sources/libunwind/include")
# Plain terminate: the demangler is 60 KB, and would be in every module.
readonly abi=("${cxx[@]}" -D_LIBCXXABI_BUILDING_LIBRARY -D_LIBCXXABI_HAS_NO_THREADS
  -DLIBCXXABI_NON_DEMANGLING_TERMINATE)
readonly unwind=("${common[@]}" -D_LIBUNWIND_HAS_NO_THREADS -D_LIBUNWIND_HIDE_SYMBOLS "-I$sources/libunwind/include")

# Runs one compilation beside others, as many as there are cores; a failing one ends the script.
readonly cores=$(nproc)
beside() {
  while [ "$(jobs -rp | wc -l)" -ge "$cores" ]; do wait -n; done
  "$@" &
}
for unit in $libcxx; do
  beside "$LLVM/bin/clang++" "${cxx[@]}" -c "$sources/libcxx/src/$unit.cpp" -o "$out/objects/cxx_${unit//\//_}.o"
done
for unit in $libcxxabi; do
  beside "$LLVM/bin/clang++" "${abi[@]}" -c "$sources/libcxxabi/src/$unit.cpp" -o "$out/objects/abi_$unit.o"
done
beside "$LLVM/bin/clang" "${unwind[@]}" -c "$sources/libunwind/src/Unwind-wasm.c" -o "$out/objects/unwind.o"
for unit in abort_message stack_protector; do
  beside "$LLVM/bin/clang" "${common[@]}" -c "$here/$unit.c" -o "$out/objects/$unit.o"
done
beside "$LLVM/bin/clang" "--target=$TRIPLE" -Wno-deprecated -c "$here/exception_tag.s" -o "$out/objects/exception_tag.o"
while [ -n "$(jobs -p)" ]; do wait -n; done

# `D`: no times or owners in the archive, so that the same sources give the same bytes.
(cd "$out/objects" && "$LLVM/bin/llvm-ar" rcsD "$sysroot/lib/$TRIPLE/libc++.a" $(ls | LC_ALL=C sort))
