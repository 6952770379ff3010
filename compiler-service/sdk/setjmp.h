// Stands in for a header that the C library for WebAssembly lacks: each function is unavailable, so that its use is one
// clear error.
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
