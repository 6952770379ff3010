// Stands in for a header that the C library for WebAssembly lacks: each function is unavailable, so that its use is one
// clear error.
#pragma once
#include <time.h>

#include "webmesh/unavailable.hpp"

extern "C" {
typedef struct {
  int unused;
} pthread_attr_t;
typedef int pthread_t;
typedef int pthread_mutex_t;
typedef int pthread_cond_t;
#define PTHREAD_MUTEX_INITIALIZER 0
#define PTHREAD_COND_INITIALIZER 0
WEBMESH_NO_THREADS int pthread_create(pthread_t*, const void*, void* (*)(void*), void*);
WEBMESH_NO_THREADS int pthread_join(pthread_t, void**);
WEBMESH_NO_THREADS int pthread_detach(pthread_t);
WEBMESH_NO_THREADS pthread_t pthread_self(void);
WEBMESH_NO_THREADS int pthread_mutex_init(pthread_mutex_t*, const void*);
WEBMESH_NO_THREADS int pthread_mutex_lock(pthread_mutex_t*);
WEBMESH_NO_THREADS int pthread_mutex_unlock(pthread_mutex_t*);
WEBMESH_NO_THREADS int pthread_mutex_destroy(pthread_mutex_t*);
WEBMESH_NO_THREADS int pthread_cond_wait(pthread_cond_t*, pthread_mutex_t*);
WEBMESH_NO_THREADS int pthread_cond_signal(pthread_cond_t*);
}
