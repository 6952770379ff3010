// Marks the functions of <cstdio> and <cstdlib> for files and processes as unavailable.
//
// Must precede the C library's own declarations, which inherit the attribute; `std::fopen` refers to those.
#pragma once

#include "unavailable.hpp"

struct _IO_FILE;

extern "C" {
WEBMESH_NO_FILES _IO_FILE* fopen(const char* __restrict, const char* __restrict);
WEBMESH_NO_FILES _IO_FILE* freopen(const char* __restrict, const char* __restrict, _IO_FILE* __restrict);
WEBMESH_NO_FILES _IO_FILE* tmpfile(void);
WEBMESH_NO_FILES char* tmpnam(char*);
WEBMESH_NO_FILES int remove(const char*);
WEBMESH_NO_FILES int rename(const char*, const char*);
WEBMESH_NO_PROCESSES int system(const char*);
}
