// Stands in for a header that the C library for WebAssembly lacks: each function is unavailable, so that its use is one
// clear error.
#pragma once
#include <sys/types.h>

#include "../webmesh/unavailable.hpp"

#define PROT_READ 1
#define PROT_WRITE 2
#define MAP_SHARED 1
#define MAP_PRIVATE 2
#define MAP_ANONYMOUS 32
#define MAP_FAILED ((void*)-1)

extern "C" {
WEBMESH_NO_FILES void* mmap(void*, size_t, int, int, int, off_t);
WEBMESH_NO_FILES int munmap(void*, size_t);
}
