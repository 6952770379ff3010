// GCC's header for the whole standard library. webmesh.hpp includes most of it for every job; the headers below declare
// names or macros in the global namespace, so they are included only on request.
#pragma once
#include <webmesh.hpp>

#include <cassert>
#include <cfenv>
#include <csetjmp>
#include <csignal>
