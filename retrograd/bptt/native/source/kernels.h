// The same kernels, once for each instruction set.
#pragma once

#include "task.h"
#include "team.h"

namespace retrograd {

enum { OUT_OF_MEMORY = 1, UNKNOWN = 2 };

int plain(const RetrogradTask&, bool back, const Runtime&);
#ifdef __x86_64__
int avx2(const RetrogradTask&, bool back, const Runtime&);
int avx512(const RetrogradTask&, bool back, const Runtime&);
#endif

}  // namespace retrograd
