// What other compilers call the whole standard library: here most of it stands before every job already. What follows
// declares names or macros in the global namespace that are an author's own to use otherwise.
#pragma once
#include <webmesh.hpp>

#include <cassert>
#include <cfenv>
#include <csetjmp>
#include <csignal>
