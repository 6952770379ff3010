// What the C library for WebAssembly leaves out, as one line where it is used.
#pragma once
#include <sys/types.h>

#include "../webmesh/unavailable.hpp"

extern "C" {
WEBMESH_NO_PROCESSES int wait(int*);
WEBMESH_NO_PROCESSES int waitpid(int, int*, int);
}
