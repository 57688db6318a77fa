// The same kernels, once for each instruction set.
#pragma once

#include "task.h"
#include "team.h"

namespace retrograd {

enum { OUT_OF_MEMORY = 1, UNKNOWN = 2 };

#define RETROGRAD_SET(name)                                   \
  namespace name {                                            \
  int sequence(const RetrogradTask&, bool, const Runtime&);   \
  int softmax(const RetrogradSoftmax&, const Runtime&);       \
  int sweep(const RetrogradSweep&, const Runtime&);           \
  }

RETROGRAD_SET(plain)
#ifdef __x86_64__
RETROGRAD_SET(avx2)
RETROGRAD_SET(avx512)
#endif

}  // namespace retrograd
