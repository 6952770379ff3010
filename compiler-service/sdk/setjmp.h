// What the C library for WebAssembly leaves out, as one line where it is used.
#pragma once
#include "webmesh/unavailable.hpp"

extern "C" {
typedef int jmp_buf[1];
typedef int sigjmp_buf[1];
WEBMESH_NO_JUMPS int setjmp(jmp_buf);
WEBMESH_NO_JUMPS int sigsetjmp(sigjmp_buf, int);
[[noreturn]] WEBMESH_NO_JUMPS void longjmp(jmp_buf, int);
[[noreturn]] WEBMESH_NO_JUMPS void siglongjmp(sigjmp_buf, int);
}
