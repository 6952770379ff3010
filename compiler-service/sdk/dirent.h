// The C library's <dirent.h>, with the functions that jobs cannot use marked as unavailable.
#pragma once
#include_next <dirent.h>

#include "webmesh/unavailable.hpp"

extern "C" {
WEBMESH_NO_FILES DIR* opendir(const char*);
}
