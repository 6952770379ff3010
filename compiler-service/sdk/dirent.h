// The C library's <dirent.h>, and one line for what jobs do not have.
#pragma once
#include_next <dirent.h>

#include "webmesh/unavailable.hpp"

extern "C" {
WEBMESH_NO_FILES DIR* opendir(const char*);
}
