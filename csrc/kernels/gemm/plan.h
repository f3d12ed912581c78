// How a product by multiply-adds is cut: into blocks of k, strips of A, panels of B and tasks, and where these are packed.
//
// Read next: gemm_cpu.cpp (who decides), rounded.h (who keeps to it).
#pragma once

#include <cstdint>

#include "core/counts.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/lanes.h"
#include "kernels/gemm/micro.h"
#include "kernels/gemm/pack.h"
#include "kernels/gemm/stored.h"

namespace gorgo::GORGO_ISA_NS {

enum class PathB : std::uint8_t { in_place, stack, scratch, column };
// Strips of A: as they lie; packed on the stack for every block of B; into scratch, once in a task or ahead of all tasks.
enum class PathA : std::uint8_t { in_place, stack, once, ahead };

struct Plan {
  PathB path = PathB::in_place;
  PathA path_a = PathA::in_place;  // `ahead` leaves no scratch for B
  std::int64_t k_blocks = 1;
  std::int64_t block_k = 0;
  std::int64_t row_tiles = 0;  // strips of A; rows are split evenly among them
  std::int64_t panels = 0;
  std::int64_t row_tasks = 1;
  std::int64_t column_tasks = 1;
  std::int64_t pack_tasks = 0;
  std::int64_t block_panels = 0;  // of B, if PathA::once

  [[nodiscard]] std::int64_t most_strips() const { return ceil_div(row_tiles, row_tasks); }  // of a task
};

// Elements of scratch before strips of A: packed B and the sums of a type that is stored narrower.
template <class S>
GORGO_GEMM_INLINE std::int64_t elements_before_strips(const GemmProblem& p, const Plan& plan) {
  const std::int64_t padded = plan.panels * kPanelColumns<typename Stored<S>::Compute>;
  return (p.k + (Stored<S>::kConverts && plan.k_blocks > 1 ? p.m : 0)) * padded;
}

// Bytes of scratch that multiply-adds need.
template <class S>
GORGO_GEMM_INLINE std::int64_t bytes_of(const GemmProblem& p, const Plan& plan) {
  using C = typename Stored<S>::Compute;
  std::int64_t elements = 0;
  if (plan.path == PathB::column) {
    elements = plan.pack_tasks != 0 ? p.k : 0;
  } else {
    if (plan.path_a == PathA::ahead) elements = plan.k_blocks * plan.row_tiles * strip_elements<C>(plan.block_k);
    if (plan.path == PathB::scratch) elements = elements_before_strips<S>(p, plan);
    if (plan.path_a == PathA::once) {
      elements += plan.row_tasks * plan.column_tasks * plan.most_strips() * strip_elements<C>(plan.block_k);
    }
  }
  return elements * static_cast<std::int64_t>(sizeof(C));
}

}  // namespace gorgo::GORGO_ISA_NS
