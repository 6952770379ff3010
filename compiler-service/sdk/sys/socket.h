// The C library's <sys/socket.h>, with the functions that jobs cannot use marked as unavailable.
#pragma once
#include_next <sys/socket.h>

#include "../webmesh/unavailable.hpp"

extern "C" {
WEBMESH_NO_NETWORK int socket(int, int, int);
WEBMESH_NO_NETWORK int bind(int, const struct sockaddr*, socklen_t);
WEBMESH_NO_NETWORK int connect(int, const struct sockaddr*, socklen_t);
WEBMESH_NO_NETWORK int listen(int, int);
WEBMESH_NO_NETWORK int accept(int, struct sockaddr* __restrict, socklen_t* __restrict);
}
