// Stands in for a header that the C library for WebAssembly lacks: each function is unavailable, so that its use is one
// clear error.
#pragma once
#include <sys/types.h>

#include "../webmesh/unavailable.hpp"

extern "C" {
WEBMESH_NO_PROCESSES int wait(int*);
WEBMESH_NO_PROCESSES int waitpid(int, int*, int);
}
