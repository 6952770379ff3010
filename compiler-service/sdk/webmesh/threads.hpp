// The parts of the standard library that libc++ omits when it is built without threads.
//
// Mutexes and locks work, with the single thread of a job. Everything that needs a second thread is unavailable: its
// use is one compile error at the author's line.
#pragma once

#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <shared_mutex>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>

#include "unavailable.hpp"

namespace webmesh::detail {

/// Implements all standard mutexes. Locking one that is held throws, since waiting would never end.
template <bool recursive>
class Mutex {
 public:
  constexpr Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() {
    if (!try_lock()) deadlock();
  }
  bool try_lock() {
    if (shared_ != 0 || (held_ != 0 && !recursive)) return false;
    ++held_;
    return true;
  }
  void unlock() { --held_; }
  template <class Duration>
  bool try_lock_for(const Duration&) {
    return try_lock();
  }
  template <class Time>
  bool try_lock_until(const Time&) {
    return try_lock();
  }

  void lock_shared() {
    if (!try_lock_shared()) deadlock();
  }
  bool try_lock_shared() {
    if (held_ != 0) return false;
    ++shared_;
    return true;
  }
  void unlock_shared() { --shared_; }
  template <class Duration>
  bool try_lock_shared_for(const Duration&) {
    return try_lock_shared();
  }
  template <class Time>
  bool try_lock_shared_until(const Time&) {
    return try_lock_shared();
  }

 private:
  [[noreturn]] static void deadlock() {
    throw std::system_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                            "the only thread of the job already holds this mutex");
  }

  unsigned held_ = 0;
  unsigned shared_ = 0;
};

}  // namespace webmesh::detail

namespace std {

using mutex = webmesh::detail::Mutex<false>;
using timed_mutex = webmesh::detail::Mutex<false>;
using shared_mutex = webmesh::detail::Mutex<false>;
using shared_timed_mutex = webmesh::detail::Mutex<false>;
using recursive_mutex = webmesh::detail::Mutex<true>;
using recursive_timed_mutex = webmesh::detail::Mutex<true>;

template <class... M>
void lock(M&... mutexes) {
  (mutexes.lock(), ...);
}
/// Returns -1 if all mutexes were locked, otherwise the index of the first that is held.
template <class... M>
int try_lock(M&... mutexes) {
  int locked = 0;
  if (((mutexes.try_lock() && (++locked, true)) && ...)) return -1;
  int left = locked;
  ((left-- > 0 ? mutexes.unlock() : void()), ...);
  return locked;
}

template <class... M>
class [[nodiscard]] scoped_lock {
 public:
  explicit scoped_lock(M&... mutexes) : mutexes_(mutexes...) { std::lock(mutexes...); }
  explicit scoped_lock(adopt_lock_t, M&... mutexes) : mutexes_(mutexes...) {}
  scoped_lock(const scoped_lock&) = delete;
  scoped_lock& operator=(const scoped_lock&) = delete;
  ~scoped_lock() {
    std::apply([](auto&... mutexes) { (mutexes.unlock(), ...); }, mutexes_);
  }

 private:
  tuple<M&...> mutexes_;
};

template <class M>
class [[nodiscard]] shared_lock {
 public:
  using mutex_type = M;
  shared_lock() = default;
  explicit shared_lock(M& mutex) : mutex_(&mutex) { lock(); }
  shared_lock(M& mutex, defer_lock_t) : mutex_(&mutex) {}
  shared_lock(M& mutex, try_to_lock_t) : mutex_(&mutex) { try_lock(); }
  shared_lock(M& mutex, adopt_lock_t) : mutex_(&mutex), owns_(true) {}
  shared_lock(shared_lock&& other) noexcept
      : mutex_(std::exchange(other.mutex_, nullptr)), owns_(std::exchange(other.owns_, false)) {}
  shared_lock& operator=(shared_lock&& other) noexcept {
    shared_lock(std::move(other)).swap(*this);
    return *this;
  }
  ~shared_lock() {
    if (owns_) mutex_->unlock_shared();
  }
  void lock() {
    mutex_->lock_shared();
    owns_ = true;
  }
  bool try_lock() { return owns_ = mutex_->try_lock_shared(); }
  void unlock() {
    mutex_->unlock_shared();
    owns_ = false;
  }
  void swap(shared_lock& other) noexcept {
    std::swap(mutex_, other.mutex_);
    std::swap(owns_, other.owns_);
  }
  M* release() noexcept {
    owns_ = false;
    return std::exchange(mutex_, nullptr);
  }
  bool owns_lock() const noexcept { return owns_; }
  explicit operator bool() const noexcept { return owns_; }
  M* mutex() const noexcept { return mutex_; }

 private:
  M* mutex_ = nullptr;
  bool owns_ = false;
};

class WEBMESH_NO_THREADS thread {
 public:
  using id = int;
  template <class... A>
  thread(A&&...);
  void join();
  void detach();
  bool joinable() const;
  static unsigned hardware_concurrency();
};
class WEBMESH_NO_THREADS jthread {
 public:
  template <class... A>
  jthread(A&&...);
  void join();
  void detach();
};
class WEBMESH_NO_THREADS stop_token {};
class WEBMESH_NO_THREADS stop_source {};
class WEBMESH_NO_THREADS condition_variable {
 public:
  void notify_one();
  void notify_all();
  template <class... A>
  webmesh::detail::Anything wait(A&&...);
  template <class... A>
  webmesh::detail::Anything wait_for(A&&...);
  template <class... A>
  webmesh::detail::Anything wait_until(A&&...);
};
class WEBMESH_NO_THREADS condition_variable_any {
 public:
  void notify_one();
  void notify_all();
  template <class... A>
  webmesh::detail::Anything wait(A&&...);
};
template <class T>
class WEBMESH_NO_THREADS future {
 public:
  T get();
  void wait() const;
  bool valid() const;
};
template <class T>
class WEBMESH_NO_THREADS shared_future {
 public:
  T get() const;
  void wait() const;
};
template <class T>
class WEBMESH_NO_THREADS promise {
 public:
  webmesh::detail::Anything get_future();
  template <class... A>
  void set_value(A&&...);
};
template <class T>
class WEBMESH_NO_THREADS packaged_task {
 public:
  template <class... A>
  packaged_task(A&&...);
  webmesh::detail::Anything get_future();
  template <class... A>
  void operator()(A&&...);
};
enum class WEBMESH_NO_THREADS launch { async = 1, deferred = 2 };
template <class... A>
WEBMESH_NO_THREADS webmesh::detail::Anything async(A&&...);
class WEBMESH_NO_THREADS latch {
 public:
  explicit latch(ptrdiff_t);
  void count_down(ptrdiff_t = 1);
  void wait() const;
  void arrive_and_wait(ptrdiff_t = 1);
};
template <class F = int>
class WEBMESH_NO_THREADS barrier {
 public:
  template <class... A>
  explicit barrier(A&&...);
  void arrive_and_wait();
};
template <ptrdiff_t most = 1>
class WEBMESH_NO_THREADS counting_semaphore {
 public:
  explicit counting_semaphore(ptrdiff_t);
  void acquire();
  void release(ptrdiff_t = 1);
};
class WEBMESH_NO_THREADS binary_semaphore {
 public:
  explicit binary_semaphore(ptrdiff_t);
  void acquire();
  void release(ptrdiff_t = 1);
};

namespace this_thread {
template <class... A>
WEBMESH_NO_SLEEP void sleep_for(A&&...);
template <class... A>
WEBMESH_NO_SLEEP void sleep_until(A&&...);
WEBMESH_NO_THREADS int get_id();
inline void yield() {}
}  // namespace this_thread

namespace execution {
inline constexpr int seq WEBMESH_NO_THREADS = 0;
inline constexpr int par WEBMESH_NO_THREADS = 0;
inline constexpr int par_unseq WEBMESH_NO_THREADS = 0;
inline constexpr int unseq WEBMESH_NO_THREADS = 0;
}  // namespace execution

}  // namespace std
