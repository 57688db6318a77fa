// What one call works on; filled in by Python (retrograd/bptt/native/library.py, which names the same fields).
//
// Rows are packed: step t has rows[t] of them, which begin at row begin[t] of every (N, ...) array, N rows in all;
// rows[t] never grows, so that row b of a step goes on from row b of the step before. All arrays are contiguous.
#pragma once

#include <cstdint>

extern "C" struct RetrogradTask {
  int64_t cell;        // 0 Elman, 1 GRU, 2 LSTM, 3 additive
  int64_t activation;  // of Elman and the additive cell: 0 tanh, 1 ReLU, 2 sigmoid, 3 identity
  int64_t wide;        // 0 float, 1 double
  int64_t threads;
  int64_t steps, batch, hidden;
  const int64_t* rows;   // (T)
  const int64_t* begin;  // (T)
  const void* weight;    // (G H, H)
  const void* bias;      // (G H) b_hh, read by the GRU alone; or null
  const void* first;     // (B, S)
  void* kept;            // (N, kept H): forward in the input's share, out what the cell keeps; Elman: the same as h
  const void* table;     // (types, kept H) where the input's share of row k is table[tokens[k]]; or null
  const int64_t* tokens; // (N); or null
  void* h;               // (N, H)
  void* c;               // (N, H) of an LSTM
  void* last;            // (B, S)
  // back
  const void* d_h;     // (N, H) that enters from above; or null
  const void* d_last;  // (B, S); or null
  void* d;             // (N, kept H)
  void* d_first;       // (B, S)
  void* d_states;      // (N, S) the total gradient at each state; or null
};

// What enters a layer at some steps, to be taken back to its first state (sweep.h, which names the axes).
extern "C" struct RetrogradSweep {
  int64_t wide, threads, steps, batch, hidden, parts, gates, entries;
  const int64_t* at;     // (E), rising: the states 1 .. T at which it enters
  const void* weight;    // (G H, H)
  const void* to_a;      // (T, B, M, G, H)
  const void* direct;    // (T, B, M, M, H): from part m to part c
  const void* units;     // (E, B, S) of length 1
  const double* logs;    // (E, B) ln of their lengths
  const void* entering;  // (E, B, S) as it is
  double* log_norms;     // (E, T + 1, B): written where the state is not after the entry
  void* total;           // (T + 1, B, S): written up to the last entry
};

extern "C" struct RetrogradSoftmax {
  int64_t wide, threads, rows, size;
  void* logits;            // (rows, size): in their place, `scale` times the gradient of each row's loss
  const int64_t* targets;  // (rows)
  int64_t ignored;         // a target that asks for nothing
  double scale;
  double* losses;  // (rows)
};
