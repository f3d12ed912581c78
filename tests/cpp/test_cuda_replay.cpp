// Captured programs as device graphs, on a made-up driver whose graphs run their nodes in any order that the dependencies allow.
//
// What a graph computes must be what the steps give one after the other, whatever the addresses of inputs and results.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <random>

#include "graph/capture.h"
#include "graph/executor.h"
#include "made_up_driver.h"
#include "opdef/registry.h"

namespace gorgo {
namespace {

constexpr Device kCuda4{DeviceType::Cuda, 4};
constexpr int64_t kLength = 24;

struct Node {
  std::string kernel;
  std::function<void()> work;
  std::vector<uint64_t> after;
};
using NodeMap = std::map<uint64_t, Node>;

struct Graphs {
  uint64_t next = 1000;
  std::map<uint64_t, NodeMap> recorded;
  std::map<uint64_t, NodeMap> executables;
  uint64_t capturing = 0;  // the stream, of which there is one at a time
  NodeMap capture;
  std::vector<uint64_t> frontier;
  std::mt19937 random{11};
  int eager = 0, captures = 0, updates = 0, launches = 0;
  bool refuse_updates = false;
};
Graphs graphs;

void enqueue(const std::string& kernel, void* stream, std::function<void()> work) {
  if (graphs.capturing == 0 || reinterpret_cast<uint64_t>(stream) != graphs.capturing) {
    ++graphs.eager;
    work();
    return;
  }
  const uint64_t id = graphs.next++;
  graphs.capture[id] = Node{kernel, std::move(work), graphs.frontier};
  graphs.frontier = {id};
}

// An operand as a kernel would copy it into its parameters.
struct Lanes {
  explicit Lanes(const KOperand& o) : data(o.as<float>()), contiguous(o.contiguous) {
    if (o.scalar && o.host) value = *o.as<float>();
    is_value = o.scalar && o.host;
    for (int i = 0; i < o.rank; ++i) {
      shape.push_back(o.shape[i]);
      strides.push_back(o.strides[i]);
    }
  }
  [[nodiscard]] float& at(int64_t i) const {
    int64_t offset = 0;
    for (size_t a = shape.size(); a-- > 0;) {
      offset += i % shape[a] * strides[a];
      i /= shape[a];
    }
    return data[offset];
  }
  [[nodiscard]] float get(int64_t i) const { return is_value ? value : shape.empty() ? *data : at(i); }
  float* data;
  float value = 0;
  bool is_value = false;
  bool contiguous;
  std::vector<int64_t> shape, strides;
};

template <class F>
void elementwise(const char* name, const KernelArgs& args, F f) {
  std::vector<Lanes> in;
  for (int i = 0; i < args.in_count; ++i) in.emplace_back(args.in[i]);
  const Lanes out(args.out[0]);
  enqueue(name, args.stream, [=, count = args.out[0].numel] {
    std::vector<float> results;
    for (int64_t i = 0; i < count; ++i)
      results.push_back(in.size() > 1 ? f(in[0].get(i), in[1].get(i)) : f(in[0].get(i), 0.0F));
    for (int64_t i = 0; i < count; ++i) out.at(i) = results[static_cast<size_t>(i)];
  });
}
void add_run(const KernelArgs& args, int64_t) noexcept {
  elementwise("add", args, [](float a, float b) { return a + b; });
}
void multiply_run(const KernelArgs& args, int64_t) noexcept {
  // As a kernel that is chosen by alignment would be: another one for another address.
  elementwise("multiply", args, [](float a, float b) { return a * b; });
}
void copy_run(const KernelArgs& args, int64_t) noexcept {
  elementwise("copy", args, [](float a, float) { return a; });
}

CudaDriver with_graphs() {
  CudaDriver d = made_up();
  d.begin_capture = [](uint64_t stream) {
    graphs.capturing = stream;
    graphs.capture.clear();
    graphs.frontier.clear();
    return 0;
  };
  d.capture_after = [](uint64_t, const uint64_t* nodes, size_t count) {
    graphs.frontier.assign(nodes, nodes + count);
    return 0;
  };
  d.captured_since = [](uint64_t, const uint64_t* after, size_t after_count, uint64_t* nodes, size_t* count) {
    std::vector<uint64_t> chain;
    uint64_t id = graphs.frontier.size() == 1 ? graphs.frontier[0] : 0;
    while (id != 0 && std::find(after, after + after_count, id) == after + after_count) {
      chain.insert(chain.begin(), id);
      const std::vector<uint64_t>& before = graphs.capture.at(id).after;
      id = before.size() == 1 ? before[0] : 0;
    }
    if (chain.size() <= *count) std::copy(chain.begin(), chain.end(), nodes);
    *count = chain.size();
    return 0;
  };
  d.end_capture = [](uint64_t, uint64_t* graph) {
    graphs.capturing = 0;
    *graph = graphs.next++;
    graphs.recorded[*graph] = std::move(graphs.capture);
    return 0;
  };
  d.instantiate = [](uint64_t graph, uint64_t* executable) {
    *executable = graphs.next++;
    graphs.executables[*executable] = graphs.recorded.at(graph);
    ++graphs.captures;
    return 0;
  };
  d.update_node = [](uint64_t executable, uint64_t node, uint64_t like) {
    if (graphs.refuse_updates) return 1;
    for (const auto& [id, recorded] : graphs.recorded) {
      const auto found = recorded.find(like);
      if (found == recorded.end()) continue;
      Node& target = graphs.executables.at(executable).at(node);
      if (target.kernel != found->second.kernel) return 1;
      target.work = found->second.work;
      ++graphs.updates;
      return 0;
    }
    return 1;
  };
  d.launch_graph = [](uint64_t executable, uint64_t) {
    ++graphs.launches;
    NodeMap left = graphs.executables.at(executable);
    while (!left.empty()) {
      std::vector<uint64_t> ready;
      for (const auto& [id, node] : left) {
        const bool waits =
            std::any_of(node.after.begin(), node.after.end(), [&](uint64_t p) { return left.count(p) != 0; });
        if (!waits) ready.push_back(id);
      }
      const uint64_t chosen = ready[graphs.random() % ready.size()];
      left.at(chosen).work();
      left.erase(chosen);
    }
    return 0;
  };
  d.destroy_graph = [](uint64_t graph) { return graphs.recorded.erase(graph) == 1 ? 0 : 1; };
  d.destroy_executable = [](uint64_t executable) { return graphs.executables.erase(executable) == 1 ? 0 : 1; };
  return d;
}

struct Replaying {
  Replaying() {
    static const CudaDriver driver = with_graphs();
    cuda_driver = &driver;
    graphs = Graphs{};
    static const bool filled = [] {
      take_cuda_kernels([](KernelSink& sink) {
        sink.add("add", DType::Float32, Kernel::of(Phase{add_run, nullptr}));
        sink.add("multiply", DType::Float32, Kernel::of(Phase{multiply_run, nullptr}));
        sink.add("copy", DType::Float32, Kernel::of(Phase{copy_run, nullptr}));
      });
      return true;
    }();
    static_cast<void>(filled);
  }
  ~Replaying() { apart_bytes = apart_before; }
  size_t apart_before = apart_bytes;
  MadeUp base;
};

Tensor drawn(Device device, uint32_t seed) {
  Tensor t = make_tensor(Shape{kLength}, DType::Float32, device);
  std::mt19937 random(seed);
  for (int64_t i = 0; i < kLength; ++i)
    static_cast<float*>(t->data())[i] = static_cast<float>(random() % 2048) / 1024.0F - 1.0F;
  return t;
}
// Not-a-numbers are all one: their payloads are the processor's affair.
std::vector<float> elements(const Tensor& t) {
  const auto* p = static_cast<const float*>(t->data());
  std::vector<float> all(p, p + t->numel);
  for (float& x : all) x = std::isnan(x) ? 12345.0F : x;
  return all;
}

// A random function of two inputs and a state that it changes in part; the same for the same seed, on any device.
std::vector<Tensor> run_function(uint32_t seed, const Tensor& x, const Tensor& y, const Tensor& state) {
  std::mt19937 random(seed);
  const OpDef& add = Registry::instance().get("add");
  const OpDef& multiply = Registry::instance().get("multiply");
  std::vector<Tensor> known{x, y, state};
  for (int i = 0; i < 30; ++i) {
    const Tensor& a = known[random() % known.size()];
    const Tensor& b = known[random() % known.size()];
    const uint32_t what = random() % 8;
    if (what == 0) {
      const auto first = static_cast<int64_t>(random() % (kLength / 2));
      const int64_t count = kLength / 2;
      const Tensor part = make_view(*state, Shape{count}, Strides{1}, state->offset + first);
      const Tensor from = make_view(*a, Shape{count}, Strides{1}, a->offset + static_cast<int64_t>(random() % count));
      invoke_into(add, {Arg(from), Arg(part)}, part);
    } else {
      known.push_back(invoke(what < 5 ? add : multiply, {Arg(a), Arg(b)}));
      if (known.size() > 9) known.erase(known.begin() + 3);
    }
  }
  return {known[known.size() - 1], known[known.size() - 2]};
}

}  // namespace

TEST_CASE("a graph gives what its steps give in order, in any order that it allows and at any addresses") {
  const Replaying replaying;
  for (uint32_t seed = 0; seed < 30; ++seed) {
    apart_bytes =
        seed % 2 == 0 ? replaying.apart_before : 0;  // with and without values that take over each other's memory
    const Tensor state = drawn(kCuda4, 1000 + seed);
    const Tensor expected_state = drawn(kCpu, 1000 + seed);
    std::vector<Tensor> here, there;
    for (uint32_t k = 0; k < 14; ++k) {
      there.push_back(drawn(kCuda4, k));
      here.push_back(drawn(kCpu, k));
    }
    Recorder recorder;
    recorder.add_input(there[0], "x");
    recorder.add_input(there[1], "y");
    {
      const Recorder::Scope scope(recorder);
      for (const Tensor& t : run_function(seed, there[0], there[1], state)) recorder.add_output(t);
    }
    static_cast<void>(run_function(seed, here[0], here[1], expected_state));
    Program program(recorder.finish());
    CHECK(elements(state) == elements(expected_state));
    graphs.captures = graphs.launches = graphs.updates = 0;
    std::vector<std::vector<Tensor>> kept;
    std::mt19937 random(seed);
    // Four pairs in turn, then many; results dropped, then kept.
    for (int run = 0; run < 40; ++run) {
      const size_t pair = run < 16 ? static_cast<size_t>(run % 4) : random() % 7;
      const Tensor inputs[2] = {there[2 * pair], there[2 * pair + 1]};
      std::vector<Tensor> results;
      program.run(inputs, results);
      const std::vector<Tensor> expected = run_function(seed, here[2 * pair], here[2 * pair + 1], expected_state);
      REQUIRE(results.size() == 2);
      for (size_t i = 0; i < 2; ++i) CHECK(elements(results[i]) == elements(expected[i]));
      CHECK(elements(state) == elements(expected_state));
      if (run > 30) kept.push_back(results);
    }
    CHECK(graphs.captures >= 4);
    CHECK(graphs.launches >= 30);
    CHECK(graphs.updates > 0);
  }
  CHECK(graphs.executables.empty());
  CHECK(graphs.recorded.empty());
}

TEST_CASE("a graph that cannot be updated is captured anew") {
  const Replaying replaying;
  graphs.refuse_updates = true;
  const Tensor state = drawn(kCuda4, 77);
  const Tensor expected_state = drawn(kCpu, 77);
  Recorder recorder;
  const Tensor x = drawn(kCuda4, 1);
  recorder.add_input(x, "x");
  recorder.add_input(drawn(kCuda4, 2), "y");
  {
    const Recorder::Scope scope(recorder);
    for (const Tensor& t : run_function(3, x, x, state)) recorder.add_output(t);
  }
  static_cast<void>(run_function(3, drawn(kCpu, 1), drawn(kCpu, 1), expected_state));
  Program program(recorder.finish());
  for (uint32_t k = 0; k < 12; ++k) {
    const Tensor inputs[2] = {drawn(kCuda4, k), drawn(kCuda4, 2)};
    std::vector<Tensor> results;
    program.run(inputs, results);
    const Tensor here = drawn(kCpu, k);
    const std::vector<Tensor> expected = run_function(3, here, here, expected_state);
    for (size_t i = 0; i < 2; ++i) CHECK(elements(results[i]) == elements(expected[i]));
    CHECK(elements(state) == elements(expected_state));
  }
  CHECK(graphs.updates == 0);
}

}  // namespace gorgo
