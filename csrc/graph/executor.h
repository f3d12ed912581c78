// Runs a graph: planned (one arena, a flat list of steps with resolved pointers), or interpreted through the funnel.
//
// Invariants: a Program is immutable; a run leases a Context (arena, operand table), so threads share programs. Results never
// alias the arena, and a result buffer is used again only when the caller has dropped it. A replay calls neither the funnel nor,
// once warm, the allocator. The steps are the kernels that eager calls would run, in recorded order, so the bits are the same.
// Read next: plan.h, planner.cpp, executor.cpp (Program::run), device_replay.cpp.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "graph/ir.h"
#include "graph/order.h"

namespace gorgo {

// Values of up to so many bytes in all do not take over each other's memory where a device has streams: who writes where another has
// read would have to wait for that one, though nothing else holds it up. Tests set it to 0.
extern size_t apart_bytes;

class Program {
 public:
  // NotSupported for what cannot be planned (data-dependent shapes, host ops). Fuses where the device can and GORGO_FUSE allows.
  explicit Program(Graph graph);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Runs once. `inputs` have the shapes, dtypes, strides and devices of the recording; the caller has checked. Returns the
  // results in order.
  void run(std::span<const Tensor> inputs, std::vector<Tensor>& results);

  [[nodiscard]] const Graph& graph() const noexcept { return graph_; }
  [[nodiscard]] size_t arena_bytes() const noexcept;
  [[nodiscard]] size_t step_count() const noexcept;
  // Long enough that other threads should run meanwhile?
  [[nodiscard]] bool is_long() const noexcept;

 private:
  struct Plan;
  struct Context;
  struct Replay;

  std::unique_ptr<Context> lease();
  void give_back(std::unique_ptr<Context> context);
  void run_steps(Context& context) const;
  // On a device with streams: the steps as launches, or a graph of them.
  void enqueue(Context& context, std::span<const Tensor> inputs) const;
  void enqueue_step(Context& context, size_t s, uint64_t stream) const;
  void find_key(Context& context) const;
  class GraphRecorder;
  void capture(Context& context, Replay& replay) const;
  bool update(Context& context, Replay& replay) const;
  [[nodiscard]] int32_t step_of_operand(int32_t operand) const;
  [[nodiscard]] bool meets_writes(const Context& context, int32_t operand) const;
  [[nodiscard]] std::vector<Access> accesses(const Context& context, size_t s) const;

  Graph graph_;                 // as it was recorded
  std::optional<Graph> fused_;  // what is planned in its place where anything was fused
  std::unique_ptr<const Plan> plan_;
  std::mutex lock_;
  std::vector<std::unique_ptr<Context>> idle_;
};

// Runs a graph op by op through the funnel: anything runs, gradients are recorded, memory is the pool's.
[[nodiscard]] std::vector<Tensor> interpret(const Graph& graph, std::span<const Tensor> inputs);

}  // namespace gorgo
