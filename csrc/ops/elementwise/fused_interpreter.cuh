// The kernel that runs fused steps: each instruction is applied to a vector of elements per thread before the next is looked at.
//
// An accumulator in registers holds what the last instruction made, other values lie in shared memory, each thread's own lines
// side by side, so that a slot's number never makes an index of registers and nobody waits for another thread. Which
// instruction comes next is the same for all threads. The formulas are the structs of functors.h, as in the eager kernels.
// A chunk is kElements neighbours along the innermost axis: 16 bytes of the widest type, or of the halves where there are any;
// a thread treats kChunks of them.
// Invariant: a thread reads all operands before it writes, and no two threads treat one position, so an output may be an input.
// Read next: fused_machine.h, kernels_cuda_fused.cu.
#pragma once

#include "ops/elementwise/fused_formulas.cuh"
#include "ops/elementwise/fused_machine.h"

namespace gorgo::cuda {

constexpr int kFusedAxes = kFusedRank;

struct FusedPlace {
  unsigned char* data = nullptr;
  int64_t step = 0;        // bytes between neighbours along the innermost axis
  int64_t chunk_step = 0;  // between chunks
  Access access = Access::Single;
  FusedType type = FusedType::Own;
  int64_t strides[kFusedAxes] = {};  // of the outer axes, in bytes
};

template <class C>
struct FusedLaunch {
  uint32_t chunks = 0;
  int32_t outer_axes = 0;
  int64_t row_elements = 0;
  int32_t inputs = 0;
  int32_t outputs = 0;
  int32_t count = 0;           // of instructions
  uint32_t scratch_bytes = 0;  // where the scratch slots begin
  Divider row;                 // by the chunks of a row
  Divider by[kFusedAxes];
  FusedPlace in[kFusedInputs];
  FusedPlace out[kFusedOutputs];
  C numbers[kFusedNumbers] = {};
  FusedCode code[kFusedInstructions];
};

#if defined(__CUDACC__)

// Lines of shared memory by their addresses there. Each thread touches its own only.
GORGO_DEVICE uint4 load_line(uint32_t line) {
  uint4 q;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(q.x), "=r"(q.y), "=r"(q.z), "=r"(q.w) : "r"(line));
  return q;
}
GORGO_DEVICE void store_line(uint32_t line, const uint4& q) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(line), "r"(q.x), "r"(q.y), "r"(q.z), "r"(q.w));
}
// 16 bytes from device memory into a line; fused_copies_wait() waits for this thread's copies.
GORGO_DEVICE void copy_line(uint32_t line, const unsigned char* from) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(line), "l"(from));
#else
  store_line(line, *reinterpret_cast<const uint4*>(from));
#endif
}
GORGO_DEVICE void fused_copies_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_all;");
#endif
}
template <class C, int kElements, int kChunks, bool kHalves>
struct FusedMachineState {
  static constexpr int kValues = kElements * kChunks;
  static constexpr int kOwn = 16 / static_cast<int>(sizeof(C));  // elements of C in a line
  static constexpr int kLines = kElements / kOwn;                // lines of a chunk in a slot
  static_assert(kElements % kOwn == 0);

  uint32_t lines;    // the address of this thread's first
  uint32_t apart;    // bytes between lines
  uint32_t scratch;  // the address of the scratch slots' first line
  C x[kValues];
  C y[kValues];
  C z[kValues];

  // Line h of chunk u in the slot whose lines begin `slot` bytes after the first.
  GORGO_DEVICE uint32_t line(uint32_t slot, int u, int h) const {
    return lines + slot + static_cast<uint32_t>(u * kLines + h) * apart;
  }

  // ---- slots to registers and back ----

  GORGO_DEVICE static void unpack_own(const uint4& q, C* to) {
    if constexpr (sizeof(C) == 4) {
      to[0] = __uint_as_float(q.x);
      to[1] = __uint_as_float(q.y);
      to[2] = __uint_as_float(q.z);
      to[3] = __uint_as_float(q.w);
    } else {
      to[0] = __hiloint2double(static_cast<int>(q.y), static_cast<int>(q.x));
      to[1] = __hiloint2double(static_cast<int>(q.w), static_cast<int>(q.z));
    }
  }
  GORGO_DEVICE static uint4 pack_own(const C* from) {
    if constexpr (sizeof(C) == 4) {
      return make_uint4(__float_as_uint(from[0]), __float_as_uint(from[1]), __float_as_uint(from[2]),
                        __float_as_uint(from[3]));
    } else {
      return make_uint4(__double2loint(from[0]), __double2hiint(from[0]), __double2loint(from[1]),
                        __double2hiint(from[1]));
    }
  }
  static GORGO_DEVICE uint32_t word(const uint4& q, int i) { return i == 0 ? q.x : i == 1 ? q.y : i == 2 ? q.z : q.w; }
  static GORGO_DEVICE C truth(uint32_t q, int k) { return (q >> (8 * k) & 0xffu) != 0 ? C(1) : C(0); }

  template <int kShift>
  GORGO_DEVICE void load(uint32_t how, uint32_t index, C (&to)[kValues], const C* numbers) const {
    if ((how & FusedCode::kOwn << kShift) != 0) {
#pragma unroll
      for (int u = 0; u < kChunks; ++u) {
#pragma unroll
        for (int h = 0; h < kLines; ++h) unpack_own(load_line(line(index, u, h)), to + u * kElements + h * kOwn);
      }
    } else if ((how & FusedCode::kNumber << kShift) != 0) {
      const C number = numbers[index];
#pragma unroll
      for (int k = 0; k < kValues; ++k) to[k] = number;
    } else if ((how & FusedCode::kAccumulator << kShift) != 0) {
#pragma unroll
      for (int k = 0; k < kValues; ++k) to[k] = x[k];
    } else if (!kHalves || (how & (FusedCode::kBFloat16 | FusedCode::kFloat16) << kShift) == 0) {
#pragma unroll
      for (int u = 0; u < kChunks; ++u) {
        const uint4 q = load_line(line(index, u, 0));
#pragma unroll
        for (int k = 0; k < kElements; ++k) to[u * kElements + k] = truth(word(q, k / 4), k % 4);
      }
    } else if constexpr (kHalves) {
      if ((how & FusedCode::kBFloat16 << kShift) != 0) {
#pragma unroll
        for (int u = 0; u < kChunks; ++u) {
          const uint4 q = load_line(line(index, u, 0));
#pragma unroll
          for (int k = 0; k < kElements; ++k) {
            const uint32_t w = word(q, k / 2);
            to[u * kElements + k] = __uint_as_float(k % 2 == 0 ? w << 16 : w & 0xffff0000u);
          }
        }
      } else {
#pragma unroll
        for (int u = 0; u < kChunks; ++u) {
          const uint4 q = load_line(line(index, u, 0));
#pragma unroll
          for (int k = 0; k < kElements; ++k) {
            to[u * kElements + k] = float_of_half_bits(static_cast<uint16_t>(word(q, k / 2) >> (16 * (k % 2))));
          }
        }
      }
    }
  }

  // A chunk of the accumulator as it lies in memory; halves are rounded already.
  GORGO_DEVICE uint4 packed(FusedType type, int u, int h) const {
    const C* from = x + u * kElements;
    if (type == FusedType::Own) return pack_own(from + h * kOwn);
    uint32_t w[4] = {0, 0, 0, 0};
    if (!kHalves || type == FusedType::Bool) {
#pragma unroll
      for (int k = 0; k < kElements; ++k) w[k / 4] |= (from[k] != C(0) ? 1u : 0u) << (8 * (k % 4));
    } else if constexpr (kHalves) {
      if (type == FusedType::BFloat16) {
#pragma unroll
        for (int k = 0; k < kElements; k += 2) {
          w[k / 2] = __byte_perm(__float_as_uint(from[k]), __float_as_uint(from[k + 1]), 0x7632);
        }
      } else {
#pragma unroll
        for (int k = 0; k < kElements; k += 2) w[k / 2] = half_pair(from[k], from[k + 1]);
      }
    }
    return make_uint4(w[0], w[1], w[2], w[3]);
  }
  GORGO_DEVICE void store(uint32_t how, uint32_t to) const {
    const auto type = (how & FusedCode::kToOwn) != 0        ? FusedType::Own
                      : (how & FusedCode::kToBFloat16) != 0 ? FusedType::BFloat16
                      : (how & FusedCode::kToFloat16) != 0  ? FusedType::Float16
                                                            : FusedType::Bool;
#pragma unroll
    for (int u = 0; u < kChunks; ++u) {
#pragma unroll
      for (int h = 0; h < kLines; ++h) {
        if (h == 0 || type == FusedType::Own) store_line(line(to, u, h), packed(type, u, h));
      }
    }
  }
  GORGO_DEVICE void round(uint32_t how) {
    if constexpr (kHalves) {
      if ((how & FusedCode::kRoundsBFloat16) != 0) {
#pragma unroll
        for (int k = 0; k < kValues; k += 2) {
          const uint32_t w = bfloat_pair(x[k], x[k + 1]);
          x[k] = __uint_as_float(w << 16);
          x[k + 1] = __uint_as_float(w & 0xffff0000u);
        }
      } else if ((how & FusedCode::kRoundsFloat16) != 0) {
#pragma unroll
        for (int k = 0; k < kValues; k += 2) {
          const uint32_t w = half_pair(x[k], x[k + 1]);
          x[k] = float_of_half_bits(static_cast<uint16_t>(w));
          x[k + 1] = float_of_half_bits(static_cast<uint16_t>(w >> 16));
        }
      }
    }
  }

  // ---- instructions ----

  // Calls the formula for each value; a, b and c are what the instruction reads. Short code for all values in a row; long code
  // once, in a loop over the lines of the scratch slots, so that programs stay within the instruction cache.
#define GORGO_FORMULA(code, formula)                                                                      \
  case FusedOp::code:                                                                                     \
    if constexpr (fused_is_long(FusedOp::code)) {                                                         \
      constexpr int kArity = fused_arity(FusedOp::code);                                                  \
      _Pragma("unroll 1") for (int l = 0; l < kChunks * kLines; ++l) {                                    \
        C p[kOwn];                                                                                        \
        C q[kOwn] = {};                                                                                   \
        C r[kOwn] = {};                                                                                   \
        unpack_own(load_line(scratch + l * apart), p);                                                    \
        if constexpr (kArity > 1) unpack_own(load_line(scratch + (l + kChunks * kLines) * apart), q);     \
        if constexpr (kArity > 2) unpack_own(load_line(scratch + (l + 2 * kChunks * kLines) * apart), r); \
        _Pragma("unroll") for (int k = 0; k < kOwn; ++k) {                                                \
          [[maybe_unused]] const Lane<C> a{p[k]};                                                         \
          [[maybe_unused]] const Lane<C> b{q[k]};                                                         \
          [[maybe_unused]] const Lane<C> c{r[k]};                                                         \
          p[k] = plain<C>(formula);                                                                       \
        }                                                                                                 \
        store_line(scratch + l * apart, pack_own(p));                                                     \
      }                                                                                                   \
    } else {                                                                                              \
      _Pragma("unroll") for (int k = 0; k < kValues; ++k) {                                               \
        [[maybe_unused]] const Lane<C> a{x[k]};                                                           \
        [[maybe_unused]] const Lane<C> b{y[k]};                                                           \
        [[maybe_unused]] const Lane<C> c{z[k]};                                                           \
        x[k] = plain<C>(formula);                                                                         \
      }                                                                                                   \
    }                                                                                                     \
    break;

  // Registers to a scratch slot and back.
  GORGO_DEVICE void spill(const C (&from)[kValues], int slot) const {
#pragma unroll
    for (int l = 0; l < kChunks * kLines; ++l) {
      store_line(scratch + static_cast<uint32_t>(slot * kChunks * kLines + l) * apart, pack_own(from + l * kOwn));
    }
  }
  GORGO_DEVICE void refill() {
#pragma unroll
    for (int l = 0; l < kChunks * kLines; ++l) {
      unpack_own(load_line(scratch + static_cast<uint32_t>(l) * apart), x + l * kOwn);
    }
  }

  GORGO_DEVICE void run(uint32_t how, FusedOp op) {
    const bool spills = (how & FusedCode::kLong) != 0;
    if (spills) {
      spill(x, 0);
      if ((how & FusedCode::kReadsB) != 0) {
        spill(y, 1);
        if ((how & FusedCode::kReadsC) != 0) spill(z, 2);
      }
    }
    apply(op);
    if (spills) refill();
  }

  GORGO_DEVICE void apply(FusedOp op) {
    switch (op) {
      GORGO_FUSED_FORMULAS
      case FusedOp::Copy:
      case FusedOp::Move:
        break;
      case FusedOp::Count:
        __builtin_unreachable();
    }
  }
#undef GORGO_FORMULA
};

// Where chunk q begins: the offset in bytes in an operand, along rows and over the outer axes.
template <class C>
GORGO_DEVICE int64_t fused_offset(const FusedLaunch<C>& p, const FusedPlace& place, uint32_t q) {
  if (p.outer_axes == 0) return q * place.chunk_step;
  uint32_t row = p.row.quotient(q);
  int64_t offset = (q - row * p.row.divisor) * place.chunk_step;
#pragma unroll 1
  for (int i = p.outer_axes - 1; i >= 0; --i) {
    const uint32_t next = i > 0 ? p.by[i].quotient(row) : 0;
    offset += int64_t{row - next * p.by[i].divisor} * place.strides[i];
    row = next;
  }
  return offset;
}
template <class C>
GORGO_DEVICE int fused_elements_left(const FusedLaunch<C>& p, uint32_t q, int most) {
  uint32_t in_row = q;
  if (p.outer_axes > 0) in_row = q - p.row.quotient(q) * p.row.divisor;
  const int64_t left = p.row_elements - int64_t{in_row} * most;
  return left < most ? static_cast<int>(left) : most;
}

// Element by element, from wherever they are.
template <int kBytes, int kCount>
GORGO_DEVICE uint4 fused_gather(const unsigned char* p, int64_t step, int count) {
  Packed out(0, 0, 0, 0);
  if (step == 0) {
    const auto bits = load_word<kBytes>(p);
#pragma unroll
    for (int k = 0; k < kCount; ++k) put_piece<kBytes>(out, k, bits);
  } else {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      if (k < count) put_piece<kBytes>(out, k, load_word<kBytes>(p + k * step));
    }
  }
  return make_uint4(out.word[0], out.word[1], out.word[2], out.word[3]);
}
template <int kBytes, int kCount>
GORGO_DEVICE void fused_scatter(unsigned char* p, int64_t step, int count, const uint4& q) {
  const Packed in(q.x, q.y, q.z, q.w);
#pragma unroll
  for (int k = 0; k < kCount; ++k) {
    if (k < count) store_word<kBytes>(p + k * step, piece<kBytes>(in, k));
  }
}

// Operands of the chunks from `first` on into their slots.
template <class State, class C, int kElements, int kChunks, bool kHalves>
GORGO_DEVICE void fused_read(const FusedLaunch<C>& p, const State& s, uint32_t first) {
  constexpr int kOwn = State::kOwn;
  constexpr int kLines = State::kLines;
#pragma unroll 1
  for (int i = 0; i < p.inputs; ++i) {
    const FusedPlace& place = p.in[i];
    const uint32_t slot = i * (kChunks * kLines) * s.apart;
#pragma unroll
    for (int u = 0; u < kChunks; ++u) {
      const uint32_t q = first + u * blockDim.x;
      if (q >= p.chunks) break;
      const int count = fused_elements_left(p, q, kElements);
      const unsigned char* from = place.data + fused_offset(p, place, q);
      const bool whole = place.access == Access::Whole && count == kElements;
      if (place.type == FusedType::Own) {
#pragma unroll
        for (int h = 0; h < kLines; ++h) {
          if (whole) {
            copy_line(s.line(slot, u, h), from + 16 * h);
          } else {
            store_line(s.line(slot, u, h), fused_gather<static_cast<int>(sizeof(C)), kOwn>(
                                               from + h * kOwn * place.step, place.step, count - h * kOwn));
          }
        }
      } else if (place.type == FusedType::Bool) {
        store_line(s.line(slot, u, 0), fused_gather<1, kElements>(from, place.step, count));
      } else if constexpr (kHalves) {
        if (whole) {
          copy_line(s.line(slot, u, 0), from);
        } else {
          store_line(s.line(slot, u, 0), fused_gather<2, kElements>(from, place.step, count));
        }
      }
    }
  }
}

// The program over those chunks.
template <class State, class C, int kElements, int kChunks, bool kHalves>
GORGO_DEVICE void fused_run(const FusedLaunch<C>& p, State& s, uint32_t first) {
  constexpr int kOwn = State::kOwn;
  constexpr int kLines = State::kLines;
#pragma unroll 1
  for (int i = 0; i < p.count; ++i) {
    const FusedCode code = p.code[i];
    if ((code.how & FusedCode::kReadsB) != 0) {
      s.template load<FusedCode::kB>(code.how, code.b, s.y, p.numbers);
      if ((code.how & FusedCode::kReadsC) != 0) s.template load<FusedCode::kC>(code.how, code.c, s.z, p.numbers);
    }
    if ((code.how & FusedCode::kAccumulator) == 0) s.template load<0>(code.how, code.a, s.x, p.numbers);
    s.run(code.how, code.op);
    if ((code.how & FusedCode::kAfter) == 0) continue;
    s.round(code.how);
    if ((code.how & FusedCode::kStores) != 0) s.store(code.how, code.to);
    if (code.how >> FusedCode::kWrites == 0) continue;
#pragma unroll 1
    for (int o = 0; o < p.outputs; ++o) {
      if ((code.how >> (FusedCode::kWrites + o) & 1u) == 0) continue;
      const FusedPlace& place = p.out[o];
#pragma unroll
      for (int u = 0; u < kChunks; ++u) {
        const uint32_t q = first + u * blockDim.x;
        if (q >= p.chunks) break;
        const int count = fused_elements_left(p, q, kElements);
        unsigned char* to = place.data + fused_offset(p, place, q);
        const bool whole = place.access == Access::Whole && count == kElements;
        if (place.type == FusedType::Own) {
#pragma unroll
          for (int h = 0; h < kLines; ++h) {
            const uint4 v = s.packed(FusedType::Own, u, h);
            if (whole) {
              *reinterpret_cast<uint4*>(to + 16 * h) = v;
            } else {
              fused_scatter<static_cast<int>(sizeof(C)), kOwn>(to + h * kOwn * place.step, place.step, count - h * kOwn,
                                                               v);
            }
          }
        } else if (place.type == FusedType::Bool) {
          const uint4 v = s.packed(FusedType::Bool, u, 0);
          if (whole && kElements == 8) {
            *reinterpret_cast<uint2*>(to) = make_uint2(v.x, v.y);
          } else if (whole && kElements == 4) {
            *reinterpret_cast<uint32_t*>(to) = v.x;
          } else {
            fused_scatter<1, kElements>(to, place.step, count, v);
          }
        } else if constexpr (kHalves) {
          const uint4 v = s.packed(place.type, u, 0);
          if (whole) {
            *reinterpret_cast<uint4*>(to) = v;
          } else {
            fused_scatter<2, kElements>(to, place.step, count, v);
          }
        }
      }
    }
  }
}

template <class C, int kElements, int kChunks, bool kHalves>
__global__ void __launch_bounds__(256) fused_kernel(const __grid_constant__ FusedLaunch<C> p) {
  using State = FusedMachineState<C, kElements, kChunks, kHalves>;
  extern __shared__ uint4 fused_lines[];
  State s;
  s.lines = static_cast<uint32_t>(__cvta_generic_to_shared(fused_lines + threadIdx.x));
  asm("" : "+r"(s.lines));  // a value to keep, not to work out anew at each use
  s.apart = blockDim.x * 16;
  s.scratch = s.lines + p.scratch_bytes;
  const uint32_t first = blockIdx.x * blockDim.x * kChunks + threadIdx.x;
  fused_read<State, C, kElements, kChunks, kHalves>(p, s, first);
  fused_copies_wait();
  fused_run<State, C, kElements, kChunks, kHalves>(p, s, first);
}

#endif

}  // namespace gorgo::cuda
