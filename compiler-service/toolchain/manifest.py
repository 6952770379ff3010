"""Called by build.sh: precompiles webmesh.hpp, compiles what all jobs share, and writes DEST/toolchain.json, which tells the compiler service how to
turn one source into one module. The flags stand here and nowhere else.

The manifest:
  format           2; a reader refuses any other.
  version          a hash of all that the output depends on; part of the key of every cache of modules.
  clang_version    the compiler's own first line, for people.
  source_prefix    what stands before the author's bytes in the file that is compiled; `{name}` is the author's file
                   name, with `\\` and `"` escaped by a backslash and control characters left out.
  source_suffix    what stands after them. So: prefix + author's bytes (less a leading UTF-8 byte order mark) + suffix.
  steps            commands, run in order, each stopped at its first failure: lists of arguments, the first of them the
                   program. `{source}` is the path of that file, `{object}` of a scratch file, `{output}` of the module.
                   No step starts another program; each may write only `{object}`, `{output}` and nothing else.
  check            a command like those, which only looks for errors in prefix + author's bytes.
  read_only_paths  folders that the sandbox must let the steps read, and execute programs from; beside the system's
                   shared libraries that those programs need.
  hide_prefix      a path that diagnostics may hold where they quote the header: cut it out before others see them.
"""

import argparse
import glob
import json
import os
import re
import subprocess
import sys


def compile_flags(triple, dest):
    """The flags that the precompiled header and every job share; clang refuses the header where they differ."""
    return [
        f"--target={triple}",
        "-Wno-deprecated",  # Debian has the headers under this name, for which clang knows a newer one
        f"--sysroot={dest}/sysroot",
        "-std=c++23",
        "-Wno-c++26-extensions",  # the header walks structs with structured-binding packs
        "-O2",
        "-fwasm-exceptions",
        "-mllvm",
        "-wasm-use-legacy-eh=false",
        # The same source gives the same bytes on every machine.
        "-fno-ident",
        # `clock`, <csignal> and `getpid`, as far as they mean something in a task.
        "-D_WASI_EMULATED_PROCESS_CLOCKS",
        "-D_WASI_EMULATED_SIGNAL",
        "-D_WASI_EMULATED_GETPID",
        f"-ffile-prefix-map={dest}=/webmesh",
    ]


def shielded(glue):
    """The glue as it stands behind an author's source: out of reach of the author's macros and pragmas, since every name
    in it is undefined first, and warnings are off. It begins with an empty line, which a backslash at the source's end
    may swallow."""
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
    """Compiles the guest's own source files into DEST/libwebmesh.a; returns its path."""
    objects = []
    for source in sorted(glob.glob(f"{dest}/include/webmesh/*.cpp")):
        name = os.path.splitext(os.path.basename(source))[0]
        objects.append(f"{dest}/{name}.o")
        if subprocess.run([*compile_command, "-c", source, "-o", objects[-1]], check=False).returncode != 0:
            sys.exit(f"toolchain: webmesh/{name}.cpp does not compile (see above)")
    archive = f"{dest}/libwebmesh.a"
    if os.path.exists(archive):
        os.remove(archive)
    subprocess.run([f"{llvm}/bin/llvm-ar", "rcsD", archive, *objects], check=True)
    for path in objects:
        os.remove(path)
    return archive


def main():
    """Precompiles the header and writes the manifest."""
    parser = argparse.ArgumentParser()
    for name in ("llvm", "triple", "dest", "version"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    llvm, triple, dest = options.llvm, options.triple, options.dest

    clang = f"{llvm}/bin/clang"
    libraries = f"{dest}/sysroot/lib/{triple}"
    header = f"{dest}/webmesh.pch"
    flags = compile_flags(triple, dest)

    precompiled = subprocess.run(
        # What the headers themselves instantiate is instantiated here, rather than in every job.
        [clang, *flags, "-x", "c++-header", "-Xclang", "-fno-pch-timestamp", "-fpch-instantiate-templates",
         f"{dest}/include/webmesh.hpp", "-o", header],
        check=False,
    )
    if precompiled.returncode != 0:
        sys.exit("toolchain: webmesh.hpp does not compile (see above)")
    shared = compile_shared(llvm, [clang, *flags, "-include-pch", header], dest)
    with open(f"{dest}/include/webmesh/glue.hpp", encoding="utf-8") as file:
        glue = shielded(file.read())

    read_source = [
        clang, *flags,
        "-include-pch", header,
        "-isystem", f"{dest}/include",  # `#include <webmesh.hpp>` in a job finds the header again, and does nothing
        "-fcolor-diagnostics",
        "-fmessage-length=0",  # one message, one line: programs read them, and windows wrap them
        # A function whose variables alone fill the stack below would trap at its first call.
        "-Wframe-larger-than=983040", "-Werror=frame-larger-than",
        "-x", "c++",
    ]
    compile_step = [*read_source, "-c", "{source}", "-o", "{object}"]
    check = [*read_source, "-fsyntax-only", "{source}"]
    link_step = [
        f"{llvm}/bin/wasm-ld", "-m", "wasm32", "--color-diagnostics",
        "--entry", "_initialize",
        # The stack stands lowest: running off it is a trap, not a write over the job's own data.
        "--stack-first", "-z", "stack-size=1048576",
        # The names of functions stay, for the backtrace of a trap; the rest goes.
        "--strip-debug", "--gc-sections", "-O2",
        # Below zero after a trap, it tells the host that the stack was run over.
        "--export=__stack_pointer",
        "-soname", "job",  # otherwise the module would hold the name of the output file
        "{object}", shared,
        # The C library's own printf and scanf stop at a long double.
        f"-L{libraries}", "-lc++", "-lc-printscan-long-double",
        "-lwasi-emulated-process-clocks", "-lwasi-emulated-signal", "-lwasi-emulated-getpid",
        "-lc", "-lm",
        # The compiler's runtime last, and behind it once more libc++.a, which holds what Debian's build of it wants.
        f"{llvm}/lib/clang/22/lib/wasi/libclang_rt.builtins-wasm32.a", "-lc++",
        "-o", "{output}",
    ]
    manifest = {
        "format": 2,
        "version": options.version,
        "clang_version": subprocess.run(
            [clang, "--version"], check=True, capture_output=True, text=True
        ).stdout.splitlines()[0],
        "source_prefix": '#line 1 "{name}"\n',
        "source_suffix": glue,
        "steps": [compile_step, link_step],
        "check": check,
        "read_only_paths": [llvm, dest],
        "hide_prefix": f"{dest}/",
    }
    # Written beside and moved into place: a reader sees the whole manifest or none.
    with open(f"{dest}/toolchain.json.new", "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2)
        file.write("\n")
    os.replace(f"{dest}/toolchain.json.new", f"{dest}/toolchain.json")


main()
