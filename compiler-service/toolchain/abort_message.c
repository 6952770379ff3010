// The last words of the C++ runtime (std::terminate, a pure virtual call, a failed assertion in libc++).
//
// It stands in for libc++abi's own file, which reaches for vfprintf and with it some 20 KB of every module. The runtime
// passes only `%s`, so that is what is understood here; anything else is written as it stands.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put(const char *text, size_t length) {
  // What cannot be written is lost on purpose: the trap below is the message that counts.
  if (length != 0 && write(STDERR_FILENO, text, length) < 0) return;
}

_Noreturn void __abort_message(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  for (const char *at = format; *at != '\0';) {
    const char *hole = strstr(at, "%s");
    if (hole == NULL) {
      put(at, strlen(at));
      break;
    }
    put(at, (size_t)(hole - at));
    const char *word = va_arg(arguments, const char *);
    put(word, strlen(word));
    at = hole + 2;
  }
  va_end(arguments);
  put("\n", 1);
  abort();
}
