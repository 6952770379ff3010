// The C library's <sys/stat.h>, with the functions that jobs cannot use marked as unavailable.
#pragma once
#include_next <sys/stat.h>

#include "../webmesh/unavailable.hpp"

extern "C" {
WEBMESH_NO_FILES int stat(const char* __restrict, struct stat* __restrict);
WEBMESH_NO_FILES int lstat(const char* __restrict, struct stat* __restrict);
WEBMESH_NO_FILES int mkdir(const char*, mode_t);
WEBMESH_NO_FILES int chmod(const char*, mode_t);
}
