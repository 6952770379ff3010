// The C library's <fcntl.h>, with the functions that jobs cannot use marked as unavailable.
#pragma once
#include_next <fcntl.h>

#include "webmesh/unavailable.hpp"

extern "C" {
WEBMESH_NO_FILES int open(const char*, int, ...);
WEBMESH_NO_FILES int openat(int, const char*, int, ...);
WEBMESH_NO_FILES int creat(const char*, mode_t);
}
