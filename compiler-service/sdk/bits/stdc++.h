// What other compilers call the whole standard library: here it stands before every job already.
#pragma once
#include <webmesh.hpp>
