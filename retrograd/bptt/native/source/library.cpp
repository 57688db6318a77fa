// What Python calls. Nothing here is linked against torch: addresses of tensors come in, and with them those of three
// functions of the OpenMP runtime that torch has loaded.
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

struct Set {
  const char* name;
  int (*sequence)(const RetrogradTask&, bool, const retrograd::Runtime&);
  int (*softmax)(const RetrogradSoftmax&, const retrograd::Runtime&);
  int (*sweep)(const RetrogradSweep&, const retrograd::Runtime&);
  bool (*fits)();
};

const Set sets[] = {
#if defined(__x86_64__)
    {"AVX-512", retrograd::avx512::sequence, retrograd::avx512::softmax, retrograd::avx512::sweep,
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma");
     }},
    {"AVX2", retrograd::avx2::sequence, retrograd::avx2::softmax, retrograd::avx2::sweep,
     [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#endif
    {"plain", retrograd::plain::sequence, retrograd::plain::softmax, retrograd::plain::sweep, [] { return true; }},
};

const Set* named(const char* name) {
  for (const Set& set : sets)
    if (!std::strcmp(name, set.name)) return &set;
  return nullptr;
}

retrograd::Runtime runtime;
pid_t loaded_by;

// A child of fork has none of its parent's threads, and a team that waits for them would wait for ever.
retrograd::Runtime own_runtime() { return getpid() == loaded_by ? runtime : retrograd::Runtime{}; }

// Sets whether this thread takes denormal numbers as zero; how it was.
bool flush(bool on) {
#if defined(__x86_64__)
  constexpr unsigned both = 0x8040;  // flush to zero, denormals are zero
  const unsigned before = _mm_getcsr();
  _mm_setcsr(on ? before | both : before & ~both);
  return (before & both) == both;
#elif defined(__aarch64__)
  constexpr uint64_t zero = uint64_t(1) << 24;
  uint64_t before;
  asm volatile("mrs %0, fpcr" : "=r"(before));
  asm volatile("msr fpcr, %0" : : "r"(on ? before | zero : before & ~zero));
  return before & zero;
#else
  return on;
#endif
}

}  // namespace

extern "C" {

// Which fields and functions this library has; Python refuses one that was built from other sources than its own.
int retrograd_version() { return 4; }

// The name of the i-th instruction set that this processor has, the best first; null behind the last.
const char* retrograd_set(int i) {
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  for (const Set& set : sets)
    if (set.fits() && !i--) return set.name;
  return nullptr;
}

// The OpenMP runtime whose team is borrowed: GOMP_parallel, omp_get_thread_num, omp_get_num_threads.
void retrograd_team(void* parallel, void* number, void* count) {
  std::memcpy(&runtime.parallel, &parallel, sizeof parallel);
  std::memcpy(&runtime.number, &number, sizeof number);
  std::memcpy(&runtime.count, &count, sizeof count);
  loaded_by = getpid();
}

// 0 where all is done; 1 where memory ran out; 2 where there is no such set, cell or activation.
int retrograd_run(const char* name, const RetrogradTask* task, int back) {
  const Set* set = named(name);
  return set ? set->sequence(*task, back != 0, own_runtime()) : int(retrograd::UNKNOWN);
}

int retrograd_softmax(const char* name, const RetrogradSoftmax* task) {
  const Set* set = named(name);
  return set ? set->softmax(*task, own_runtime()) : int(retrograd::UNKNOWN);
}

int retrograd_sweep(const char* name, const RetrogradSweep* task) {
  const Set* set = named(name);
  return set ? set->sweep(*task, own_runtime()) : int(retrograd::UNKNOWN);
}

// Sets of each of so many threads of the team whether it flushes denormal numbers, and leaves how it was set. A team may
// be smaller than was asked for: of those that did not come it leaves what it leaves of the first.
void retrograd_flush(int threads, uint8_t* on) {
  const retrograd::Runtime own = own_runtime();
  if (threads < 2 || !own.parallel) {
    *on = flush(*on);
    return;
  }
  struct Call {
    uint8_t* on;
    int came;
  } call{on, 0};
  own.parallel(
      [](void* data) {
        Call& it = *static_cast<Call*>(data);
        uint8_t& mine = it.on[runtime.number()];
        mine = flush(mine);
        if (!runtime.number()) it.came = runtime.count();
      },
      &call, unsigned(threads), 0);
  for (int thread = call.came; thread < threads; ++thread) on[thread] = on[0];
}
}
