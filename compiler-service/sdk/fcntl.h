// The C library's <fcntl.h>, and one line for what jobs do not have.
#pragma once
#include_next <fcntl.h>

#include "webmesh/unavailable.hpp"

extern "C" {
WEBMESH_NO_FILES int open(const char*, int, ...);
WEBMESH_NO_FILES int openat(int, const char*, int, ...);
WEBMESH_NO_FILES int creat(const char*, mode_t);
}
