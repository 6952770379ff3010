"""Called by build.sh: precompiles webmesh.hpp, compiles the SDK's source files, and writes DEST/toolchain.json, from
which the compiler service learns how to compile a source to a module. All compiler and linker flags are set here.

Neither the toolchain's files nor the compiler's messages contain DEST's path: they call it HERE. A step therefore has to
run where HERE is that folder, for example with DEST as its working directory.

The manifest:
  format           3; a reader refuses any other, except perhaps earlier ones.
  version          a hash of everything but the source that a module depends on; part of the keys of module caches.
  clang_version    the first line of `clang --version`, for display.
  source_prefix    text before the author's bytes in the compiled file; `{name}` is the author's file name, with `\\`
                   and `"` escaped by a backslash and without control characters.
  source_suffix    text after them. The file is: prefix + author's bytes (without a UTF-8 byte order mark) + suffix.
  steps            commands to run in order until the first that fails: lists of arguments that begin with the program.
                   `{source}` is the path of that file, `{object}` of a scratch file, `{output}` of the module. No step
                   starts another program; each writes only `{object}` or `{output}`.
  check            a command of the same form that only reports errors in prefix + author's bytes.
  read_only_paths  folders that the steps need to read and to execute programs from, in addition to the toolchain's own
                   folder, which they call HERE, and to the shared libraries of those programs.
  hide_prefix      a path of this machine that diagnostics may contain; it is removed before they are shown.
"""

import argparse
import glob
import json
import os
import re
import subprocess
import sys


# The name of a process's working directory, which tells nobody where that is.
HERE = "/proc/self/cwd"
# The SDK's source files, compiled.
SHARED = "libwebmesh.a"


def compile_flags(triple):
    """The flags of the precompiled header and of every job; clang refuses a header that has other ones."""
    return [
        f"--target={triple}",
        "-Wno-deprecated",  # clang has a newer name for this target, but Debian's headers are installed under this one
        f"--sysroot={HERE}/sysroot",
        "-std=c++23",
        "-Wno-c++26-extensions",  # the header uses structured-binding packs
        "-O2",
        "-fwasm-exceptions",
        "-mllvm",
        "-wasm-use-legacy-eh=false",
        # The same source gives the same bytes on every machine.
        "-fno-ident",
        # For `clock`, <csignal> and `getpid`.
        "-D_WASI_EMULATED_PROCESS_CLOCKS",
        "-D_WASI_EMULATED_SIGNAL",
        "-D_WASI_EMULATED_GETPID",
        f"-ffile-prefix-map={HERE}=/webmesh",
    ]


def shielded(glue):
    """The glue in a form that the author's macros and pragmas do not affect: every name in it is undefined first,
    and warnings are off. Begins with an empty line, since a backslash at the end of the source joins the next line."""
    code = re.sub(r'//[^\n]*|"(?:[^"\\\n]|\\.)*"|^[ \t]*#[^\n]*', " ", glue, flags=re.MULTILINE)
    names = sorted(set(re.findall(r"[A-Za-z_]\w*", code)))
    return "".join([
        '\n\n#line 1 "webmesh:job"\n',
        "#pragma clang diagnostic ignored \"-Weverything\"\n",
        "#pragma clang diagnostic warning \"-Wdeprecated-declarations\"\n",
        *(f"#undef {name}\n" for name in names),
        glue,
    ])


def compile_shared(llvm, compile_command, dest):
    """Compiles the SDK's source files into DEST/libwebmesh.a."""
    objects = []
    for source in sorted(glob.glob(f"{dest}/include/webmesh/*.cpp")):
        name = os.path.splitext(os.path.basename(source))[0]
        objects.append(f"{dest}/{name}.o")
        command = [*compile_command, "-c", f"{HERE}/include/webmesh/{name}.cpp", "-o", objects[-1]]
        if subprocess.run(command, cwd=dest, check=False).returncode != 0:
            sys.exit(f"toolchain: webmesh/{name}.cpp does not compile (see above)")
    archive = f"{dest}/{SHARED}"
    if os.path.exists(archive):
        os.remove(archive)
    subprocess.run([f"{llvm}/bin/llvm-ar", "rcsD", archive, *objects], check=True)
    for path in objects:
        os.remove(path)


def main():
    """Precompiles the header and writes the manifest."""
    parser = argparse.ArgumentParser()
    for name in ("llvm", "triple", "dest", "version"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    llvm, triple, dest = options.llvm, options.triple, options.dest

    clang = f"{llvm}/bin/clang"
    libraries = f"{HERE}/sysroot/lib/{triple}"
    header = f"{HERE}/webmesh.pch"
    flags = compile_flags(triple)

    precompiled = subprocess.run(
        # Instantiates the templates that the headers use here, rather than in every job.
        [clang, *flags, "-x", "c++-header", "-Xclang", "-fno-pch-timestamp", "-fpch-instantiate-templates",
         f"{HERE}/include/webmesh.hpp", "-o", header],
        cwd=dest,
        check=False,
    )
    if precompiled.returncode != 0:
        sys.exit("toolchain: webmesh.hpp does not compile (see above)")
    compile_shared(llvm, [clang, *flags, "-include-pch", header], dest)
    with open(f"{dest}/include/webmesh/glue.hpp", encoding="utf-8") as file:
        glue = shielded(file.read())

    read_source = [
        clang, *flags,
        "-include-pch", header,
        "-isystem", f"{HERE}/include",  # `#include <webmesh.hpp>` in a job is found, and has no effect
        "-fcolor-diagnostics",
        "-fmessage-length=0",  # one line per message, since programs parse them and terminals wrap them
        # A function with a larger frame would overflow the stack (see below) at its first call.
        "-Wframe-larger-than=983040", "-Werror=frame-larger-than",
        "-x", "c++",
    ]
    compile_step = [*read_source, "-c", "{source}", "-o", "{object}"]
    check = [*read_source, "-fsyntax-only", "{source}"]
    link_step = [
        f"{llvm}/bin/wasm-ld", "-m", "wasm32", "--color-diagnostics",
        "--entry", "_initialize",
        # The stack is at the lowest addresses, so that an overflow is a trap, not a write to the job's data.
        "--stack-first", "-z", "stack-size=1048576",
        # Keeps the names of functions, for the backtrace of a trap.
        "--strip-debug", "--gc-sections", "-O2",
        # A negative value after a trap shows the host that the stack overflowed.
        "--export=__stack_pointer",
        "-soname", "job",  # otherwise the module would contain the name of the output file
        "{object}", f"{HERE}/{SHARED}",
        # The C library's default printf and scanf abort at a long double.
        f"-L{libraries}", "-lc++", "-lc-printscan-long-double",
        "-lwasi-emulated-process-clocks", "-lwasi-emulated-signal", "-lwasi-emulated-getpid",
        "-lc", "-lm",
        # The compiler's runtime last, then libc++.a again, for the symbols that Debian's build of the runtime needs.
        f"{llvm}/lib/clang/22/lib/wasi/libclang_rt.builtins-wasm32.a", "-lc++",
        "-o", "{output}",
    ]
    manifest = {
        "format": 3,
        "version": options.version,
        "clang_version": subprocess.run(
            [clang, "--version"], check=True, capture_output=True, text=True
        ).stdout.splitlines()[0],
        "source_prefix": '#line 1 "{name}"\n',
        "source_suffix": glue,
        "steps": [compile_step, link_step],
        "check": check,
        "read_only_paths": [llvm],
        "hide_prefix": f"{HERE}/",
    }
    # Written to a temporary file and renamed, so that a reader sees the whole manifest or none.
    with open(f"{dest}/toolchain.json.new", "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2)
        file.write("\n")
    os.replace(f"{dest}/toolchain.json.new", f"{dest}/toolchain.json")


main()
