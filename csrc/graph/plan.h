// What a Program is made of: the plan that all runs share, and what one run at a time has to itself. Private to graph/.
//
// Invariants: a Plan does not change once it is built. Its pointers lead into itself, into the graph that it was built
// from and into the outer tensors' memory; where inputs, results and the arena are, each Context knows.
// Read next: planner.cpp (who builds plans), executor.cpp (Program::lease, who makes contexts), device_replay.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "graph/executor.h"
#include "opdef/enqueue.h"

namespace gorgo {

struct Program::Plan {
  enum class BufferKind : uint8_t { Arena, Outer, Input, Result };

  struct Buffer {
    BufferKind kind = BufferKind::Arena;
    size_t bytes = 0;
    int32_t first = INT32_MAX;  // steps at which it is alive
    int32_t last = -1;
    int32_t index = -1;    // which input or result
    void* data = nullptr;  // Outer
    size_t offset = 0;     // Arena, after planning
    bool stays = false;    // Arena: nothing else ever lies there
  };

  // Where a value's elements are: a buffer and how they lie in it.
  struct Place {
    int32_t buffer = -1;
    int64_t offset = 0;
    Strides strides;
  };

  struct Step {
    const OpDef* op = nullptr;
    Kernel kernel;
    const void* attrs = nullptr;
    int32_t first_operand = 0;
    int32_t in_count = 0;
    int32_t out_count = 0;
    int32_t scratch_buffer = -1;
    int32_t fault = -1;  // which place for faults, on a device
    int64_t tasks[Kernel::kMaxPhases] = {};
  };

  struct OperandTemplate {
    KOperand operand;     // shape and strides point into Plan
    int32_t buffer = -1;  // -1: a scalar, or not given
    int64_t byte_offset = 0;
    int32_t element = -1;  // which scalar
  };

  // What a result is: a fresh buffer, or a tensor that the caller or the outside has already.
  struct Result {
    enum class Kind : uint8_t { Fresh, Input, Captured };
    Kind kind = Kind::Fresh;
    int32_t index = 0;
    DType dtype = DType::Float32;
    Shape shape;
  };

  // Decides where every value lives and which kernel makes it. NotSupported for what cannot be planned.
  explicit Plan(const Graph& graph);

  std::vector<Buffer> buffers;
  // A step that keeps what it makes of an operand, and the operand's bytes, whose version says whether it may.
  struct Kept {
    int32_t step;
    const Storage* of;
  };

  std::vector<Step> steps;
  std::vector<Kept> kept;
  std::vector<OperandTemplate> operands;
  std::vector<Element> elements;
  std::vector<std::unique_ptr<Dims>> dims;  // what operands' shape and strides point to
  std::vector<Result> results;
  std::vector<DType> fresh_dtypes;
  std::vector<Shape> fresh_shapes;
  std::vector<Tensor> written_outer;  // whose versions a run raises
  std::vector<int32_t> written_inputs;
  size_t arena_bytes = 0;
  bool is_long = false;
  Device device;
  std::vector<const HostCell*> cells;  // host numbers that kernels read when they are launched
  std::vector<int32_t> cell_steps;     // and which step's kernel does
  std::vector<int32_t> outer_writes;   // operands through which steps write to memory other than the arena
  int fault_count = 0;                 // steps whose kernels may report faults on a device

 private:
  class Planner;
};

// A run with certain addresses, kept as a device graph from the second time on.
struct Program::Replay {
  std::vector<uint64_t> key;                 // every address and number that the graph holds and that may change
  uint64_t executable = 0;                   // 0: seen once, not yet captured
  uint64_t graph = 0;                        // what it was made of: its nodes are the executable's names for them
  std::vector<std::vector<uint64_t>> nodes;  // of each step

  Replay() = default;
  Replay(Replay&& other) noexcept { *this = std::move(other); }
  Replay& operator=(Replay&& other) noexcept {
    std::swap(key, other.key);
    std::swap(executable, other.executable);
    std::swap(graph, other.graph);
    std::swap(nodes, other.nodes);
    return *this;
  }
  ~Replay() { forget(); }
  void forget() noexcept;
};

// The memory of one run, and its operands' addresses.
struct Program::Context {
  struct Patch {
    int32_t operand;
    int32_t index;  // of the input or result
    int64_t byte_offset;
  };
  Storage* arena = nullptr;
  std::vector<KOperand> operands;
  std::vector<KernelArgs> args;  // per step
  // By Plan::kept: of which version, and at which digits of products, scratch holds something; kNothing for none.
  std::vector<uint64_t> kept;
  std::vector<uint64_t> making;  // of which this run does
  static constexpr uint64_t kNothing = UINT64_MAX;
  std::vector<Patch> input_patches;
  std::vector<Patch> result_patches;
  std::vector<Tensor> fresh;  // the last results; used again when the caller has dropped them
  Fault fault;

  // On a device with streams: where the arena was last used, places for faults, and the replays kept as graphs.
  uint64_t stream = 0;
  bool used = false;
  std::shared_ptr<FaultSlots> faults;
  std::vector<std::shared_ptr<const SavedCall>> calls;  // one for each place for faults
  std::vector<Replay> replays;                          // the most recently used first
  std::vector<uint64_t> key;
  std::vector<int32_t> key_steps;  // which step each part of a key concerns

  ~Context() {
    replays.clear();
    if (arena != nullptr) arena->release();
  }
};

}  // namespace gorgo
