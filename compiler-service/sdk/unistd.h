// The C library's <unistd.h>, with the functions that jobs cannot use marked as unavailable.
#pragma once
#include_next <unistd.h>

#include "webmesh/unavailable.hpp"

extern "C" {
WEBMESH_NO_SLEEP unsigned sleep(unsigned);
WEBMESH_NO_SLEEP int usleep(unsigned);
WEBMESH_NO_SLEEP unsigned alarm(unsigned);
WEBMESH_NO_SLEEP int pause(void);
WEBMESH_NO_PROCESSES int fork(void);
WEBMESH_NO_PROCESSES int vfork(void);
WEBMESH_NO_PROCESSES int execl(const char*, const char*, ...);
WEBMESH_NO_PROCESSES int execlp(const char*, const char*, ...);
WEBMESH_NO_PROCESSES int execv(const char*, char* const[]);
WEBMESH_NO_PROCESSES int execve(const char*, char* const[], char* const[]);
WEBMESH_NO_PROCESSES int execvp(const char*, char* const[]);
WEBMESH_NO_PROCESSES int getppid(void);
WEBMESH_NO_PROCESSES int pipe(int[2]);
WEBMESH_NO_PROCESSES int dup(int);
WEBMESH_NO_PROCESSES int dup2(int, int);
WEBMESH_NO_FILES int access(const char*, int);
WEBMESH_NO_FILES int chdir(const char*);
WEBMESH_NO_FILES char* getcwd(char*, size_t);
WEBMESH_NO_FILES int link(const char*, const char*);
WEBMESH_NO_FILES int rmdir(const char*);
WEBMESH_NO_FILES int symlink(const char*, const char*);
WEBMESH_NO_FILES int unlink(const char*);
WEBMESH_NO_NETWORK int gethostname(char*, size_t);
}
