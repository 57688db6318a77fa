// Threads that work on one sequence together: torch's own, for a second team would fight its spinning threads.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>

namespace retrograd {

// What the library was told at its loading of the OpenMP runtime that torch brought along; null where there is none.
struct Runtime {
  void (*parallel)(void (*)(void*), void*, unsigned, unsigned);  // GOMP_parallel
  int (*number)();                                               // omp_get_thread_num
  int (*count)();                                                // omp_get_num_threads
};

// A meeting of `count` threads, as often as they like.
class Barrier {
 public:
  void wait(int count) {
    if (count < 2) return;
    const unsigned turn = turn_.load(std::memory_order_acquire);
    if (here_.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
      here_.store(0, std::memory_order_relaxed);
      turn_.store(turn + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; turn_.load(std::memory_order_acquire) == turn; ++spins) {
      if (spins < 4096) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
      } else {
        sched_yield();  // somebody else has the core
      }
    }
  }

 private:
  alignas(64) std::atomic<unsigned> turn_{0};
  std::atomic<int> here_{0};
};

}  // namespace retrograd
