// Marks the standard library's functions for files, processes and sleeping as unavailable (c_files.hpp has those of
// <cstdio> and <cstdlib>).
//
// A use is one compile error at the author's line, instead of a linker error without a line. std::filesystem::path
// works, since a path is only text.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <istream>
#include <ostream>

#include "unavailable.hpp"

extern "C" {
WEBMESH_NO_PROCESSES FILE* popen(const char*, const char*);
WEBMESH_NO_PROCESSES int pclose(FILE*);
WEBMESH_NO_SLEEP int nanosleep(const struct timespec*, struct timespec*);
WEBMESH_NO_SLEEP int clock_nanosleep(clockid_t, int, const struct timespec*, struct timespec*);
}

// libc++ has forward declarations of the streams, so these definitions must be in its inline namespace.
_LIBCPP_BEGIN_NAMESPACE_STD

template <class C, class T>
class basic_filebuf : public basic_streambuf<C, T> {
 public:
  WEBMESH_NO_FILES basic_filebuf();
  template <class... A>
  basic_filebuf* open(A&&...);
  basic_filebuf* close();
  bool is_open() const;
};
#define WEBMESH_FILE_STREAM(name, base)          \
  template <class C, class T>                    \
  class name : public base<C, T> {               \
   public:                                       \
    WEBMESH_NO_FILES name();                     \
    template <class... A>                        \
    WEBMESH_NO_FILES explicit name(A&&...);      \
    template <class... A>                        \
    void open(A&&...);                           \
    void close();                                \
    bool is_open() const;                        \
  };
WEBMESH_FILE_STREAM(basic_ifstream, basic_istream)
WEBMESH_FILE_STREAM(basic_ofstream, basic_ostream)
WEBMESH_FILE_STREAM(basic_fstream, basic_iostream)
#undef WEBMESH_FILE_STREAM

_LIBCPP_END_NAMESPACE_STD

namespace std::filesystem {

class WEBMESH_NO_FILES directory_entry {
 public:
  template <class... A>
  directory_entry(A&&...);
  const class path& path() const;
};
class WEBMESH_NO_FILES directory_iterator {
 public:
  template <class... A>
  directory_iterator(A&&...);
  webmesh::detail::Anything* begin();
  webmesh::detail::Anything* end();
};
class WEBMESH_NO_FILES recursive_directory_iterator {
 public:
  template <class... A>
  recursive_directory_iterator(A&&...);
  webmesh::detail::Anything* begin();
  webmesh::detail::Anything* end();
};

#define WEBMESH_FILE_FUNCTION(name) \
  template <class... A>             \
  WEBMESH_NO_FILES webmesh::detail::Anything name(A&&...);
WEBMESH_FILE_FUNCTION(absolute)
WEBMESH_FILE_FUNCTION(canonical)
WEBMESH_FILE_FUNCTION(copy)
WEBMESH_FILE_FUNCTION(copy_file)
WEBMESH_FILE_FUNCTION(copy_symlink)
WEBMESH_FILE_FUNCTION(create_directories)
WEBMESH_FILE_FUNCTION(create_directory)
WEBMESH_FILE_FUNCTION(create_directory_symlink)
WEBMESH_FILE_FUNCTION(create_hard_link)
WEBMESH_FILE_FUNCTION(create_symlink)
WEBMESH_FILE_FUNCTION(current_path)
WEBMESH_FILE_FUNCTION(equivalent)
WEBMESH_FILE_FUNCTION(exists)
WEBMESH_FILE_FUNCTION(file_size)
WEBMESH_FILE_FUNCTION(hard_link_count)
WEBMESH_FILE_FUNCTION(is_block_file)
WEBMESH_FILE_FUNCTION(is_character_file)
WEBMESH_FILE_FUNCTION(is_directory)
WEBMESH_FILE_FUNCTION(is_empty)
WEBMESH_FILE_FUNCTION(is_fifo)
WEBMESH_FILE_FUNCTION(is_other)
WEBMESH_FILE_FUNCTION(is_regular_file)
WEBMESH_FILE_FUNCTION(is_socket)
WEBMESH_FILE_FUNCTION(is_symlink)
WEBMESH_FILE_FUNCTION(last_write_time)
WEBMESH_FILE_FUNCTION(permissions)
WEBMESH_FILE_FUNCTION(proximate)
WEBMESH_FILE_FUNCTION(read_symlink)
WEBMESH_FILE_FUNCTION(relative)
WEBMESH_FILE_FUNCTION(remove)
WEBMESH_FILE_FUNCTION(remove_all)
WEBMESH_FILE_FUNCTION(rename)
WEBMESH_FILE_FUNCTION(resize_file)
WEBMESH_FILE_FUNCTION(space)
WEBMESH_FILE_FUNCTION(status)
WEBMESH_FILE_FUNCTION(symlink_status)
WEBMESH_FILE_FUNCTION(temp_directory_path)
WEBMESH_FILE_FUNCTION(weakly_canonical)
#undef WEBMESH_FILE_FUNCTION

}  // namespace std::filesystem
