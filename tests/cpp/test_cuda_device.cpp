// CUDA devices on a driver that this file makes up: memory of the host, streams and events that are numbers in a journal.
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "core/check.h"
#include "device/backend.h"
#include "made_up_driver.h"
#include "opdef/enqueue.h"

namespace gorgo {
namespace {

constexpr Device kCuda5{DeviceType::Cuda, 5};
constexpr Device kCuda6{DeviceType::Cuda, 6};

template <class E, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("devices are named and counted by the driver") {
  const MadeUp driver;
  CHECK(cuda_device_count() == 8);
  CHECK(parse_device("cuda") == Device{DeviceType::Cuda, 0});
  CHECK(parse_device("cuda:5") == kCuda5);
  CHECK(available_devices().size() == 9);
  CHECK(cuda_properties(kCuda5).major == 9);
  for (const char* name : {"cuda:8", "cuda:", "cuda:-1", "cuda:05", "cuda:x", "cudas"}) {
    CHECK(message_of<ValueError>([&] { return parse_device(name); }).starts_with("device: must be one of cpu, cuda:0"));
  }
}

TEST_CASE("a build without CUDA has no device") {
  const MadeUp driver;
  cuda_driver = nullptr;
  CHECK(cuda_device_count() == 0);
  CHECK(available_devices() == std::vector<Device>{kCpu});
  CHECK(message_of<ValueError>([] { return parse_device("cuda:0"); }) ==
        "device: must be one of cpu, got 'cuda:0' (this build has no CUDA)");
}

TEST_CASE("a driver that fails to count has no device") {
  const MadeUp driver;
  static const CudaDriver other = made_up();  // asked anew: the answer is kept for each table
  cuda_driver = &other;
  journal.failing = "device_count";
  journal.fails = 100;
  CHECK(cuda_device_count() == 0);
  CHECK(message_of<ValueError>([] {
          return parse_device("cuda");
        }).starts_with("device: must be one of cpu, got 'cuda' (no card can be used: "));
}

TEST_CASE("a driver that counts none has no device") {
  const MadeUp driver;
  static CudaDriver other = made_up();
  other.device_count = [](int* count) -> int {
    *count = 0;
    return 0;
  };
  cuda_driver = &other;
  CHECK(message_of<ValueError>([] { return parse_device("cuda"); }) ==
        "device: must be one of cpu, got 'cuda' (there is no card)");
}

TEST_CASE("device memory comes from the device's pool and is used again in the order of its stream") {
  const MadeUp driver;
  BlockPool& pool = cuda_pool(5);
  Storage* first = allocate_storage(kCuda5, 1000);
  CHECK(first->device == kCuda5);
  CHECK(first->block->stream == 0);
  void* const data = first->data;
  first->release();
  Storage* again = allocate_storage(kCuda5, 1000);
  CHECK(again->data == data);

  // Another stream used it: it comes back only after that stream's event.
  const uint64_t side = take_stream(kCuda5);
  pool.record_stream(again->block, side);
  again->release();
  CHECK(journal.count("record " + std::to_string(side)) == 1);
  Storage* other = allocate_storage(kCuda5, 1000);
  CHECK(other->data != data);
  journal.passed = true;
  other->release();

  // Memory of a stream goes to that stream.
  CHECK(set_current_stream(kCuda5, side) == 0);
  Storage* mine = allocate_storage(kCuda5, 1000);
  CHECK(mine->block->stream == side);
  CHECK(mine->data != data);
  mine->release();
  CHECK(set_current_stream(kCuda5, 0) == side);
  CHECK(current_stream(kCuda6) == 0);
  pool.empty_cache();
  CHECK(pool.stats().active_bytes == 0);
  CHECK(journal.live == 0);
}

TEST_CASE("debug mode finds writes around blocks of a card, after it has waited") {
  const MadeUp driver;
  constexpr Device kCuda7{DeviceType::Cuda, 7};
  setenv("GORGO_MEMORY_DEBUG", "1", 1);
  BlockPool& pool = cuda_pool(7);
  unsetenv("GORGO_MEMORY_DEBUG");
  CHECK(pool.debug());
  CHECK(!cuda_pool(5).debug());
  Storage* block = allocate_storage(kCuda7, 100);
  CHECK(pool.check_guards().empty());
  journal.calls.clear();
  static_cast<unsigned char*>(block->data)[100] ^= 1;
  const auto found = pool.check_guards();
  CHECK(journal.calls == std::vector<std::string>{"synchronize all"});
  REQUIRE(found.size() == 1);
  CHECK(found[0].kind == GuardDamage::Kind::kAfter);
  static_cast<unsigned char*>(block->data)[100] ^= 1;
  CHECK(pool.check_guards().empty());
  block->release();
}

TEST_CASE("a card without room is an OutOfMemoryError that names it") {
  const MadeUp driver;
  static_cast<void>(cuda_pool(6));
  journal.failing = "allocate";
  journal.fails = 2;
  const std::string text = message_of<OutOfMemoryError>([] { return allocate_storage(kCuda6, size_t{1} << 20); });
  CHECK(text.find("cuda:6 memory") != std::string::npos);
}

TEST_CASE("copies run on the current stream and end before they return") {
  const MadeUp driver;
  Storage* there = allocate_storage(kCuda5, 8);
  const double sent = 2.5;
  double got = 0;
  cuda_copy(there->data, kCuda5, &sent, kCpu, sizeof sent);
  cuda_copy(&got, kCpu, there->data, kCuda5, sizeof got);
  CHECK(got == 2.5);
  CHECK(journal.count("copy 0") == 2);
  CHECK(journal.count("synchronize 0") == 2);

  // Between devices the other one's work is waited for.
  Storage* elsewhere = allocate_storage(kCuda6, 8);
  journal.calls.clear();
  cuda_copy(elsewhere->data, kCuda6, there->data, kCuda5, 8);
  CHECK(journal.calls == std::vector<std::string>{"synchronize 0", "copy 0"});
  there->release();
  elsewhere->release();
}

TEST_CASE("one stream waits for another by an event, itself by nothing") {
  const MadeUp driver;
  cuda_wait(kCuda5, 7, 7);
  CHECK(journal.calls.empty());
  cuda_wait(kCuda5, 7, 9);
  CHECK(journal.calls == std::vector<std::string>{"record 9", "wait 7", "destroy event"});
}

TEST_CASE("a driver's error is a DeviceError with its text") {
  const MadeUp driver;
  journal.failing = "synchronize_device";
  journal.fails = 700;
  CHECK(message_of<DeviceError>([] { cuda_synchronize(kCuda5); }) ==
        "synchronize: device must carry out the call, got error 700 (made up)");
  journal.failing = "create_stream";
  CHECK(message_of<DeviceError>([] { return take_stream(kCuda5); }) ==
        "Stream: device must carry out the call, got error 700 (made up)");
}

namespace {

// A kernel that finds element 3 bad when it is told to.
bool finds_fault = false;
void pick(const KernelArgs& args, int64_t) noexcept {
  if (finds_fault) *static_cast<DeviceFault*>(args.device_fault) = {3, {17, 5}, 1, 0};
}
OpDef pick_op() {
  OpDef op;
  op.name = "pick";
  op.raise_fault = [](const Fault& f, const KernelArgs& args) {
    fail<IndexError>("pick: index must be in [0, ", args.in[0].shape[0], "), got ", f.figure(0), " at ", f.position());
  };
  return op;
}

}  // namespace

TEST_CASE("what a kernel finds wrong is raised at the next wait, once, with the figures of its call") {
  const MadeUp driver;
  const OpDef op = pick_op();
  const Kernel kernel = Kernel::of(Phase{pick, nullptr});
  int64_t shape[1] = {5};
  const int64_t strides[1] = {1};
  KOperand in;
  in.shape = shape;
  in.strides = strides;
  in.rank = 1;
  KernelArgs args;
  args.in = &in;
  args.out = &in;
  args.in_count = 1;

  raise_device_faults(kCuda5);  // nothing is expected: no waiting
  CHECK(journal.calls.empty());

  finds_fault = false;
  enqueue_kernel(op, kernel, args, kCuda5);
  raise_device_faults(kCuda5);
  finds_fault = true;
  enqueue_kernel(op, kernel, args, kCuda5);
  shape[0] = 99;  // the call's own shape is what counts
  CHECK(message_of<IndexError>([] { raise_device_faults(kCuda5); }) == "pick: index must be in [0, 5), got 17 at 3");
  raise_device_faults(kCuda5);

  // More calls than there are places: the oldest are read in time.
  finds_fault = false;
  for (int i = 0; i < 1000; ++i) enqueue_kernel(op, kernel, args, kCuda5);
  finds_fault = true;
  enqueue_kernel(op, kernel, args, kCuda5);
  finds_fault = false;
  CHECK(message_of<IndexError>([&] {
          for (int i = 0; i < 1000; ++i) enqueue_kernel(op, kernel, args, kCuda5);
          raise_device_faults(kCuda5);
        }) == "pick: index must be in [0, 99), got 17 at 3");
}

TEST_CASE("a launch that the driver refuses names the op and the device") {
  const MadeUp driver;
  OpDef op;
  op.name = "add";
  const Kernel kernel = Kernel::of(Phase{[](const KernelArgs&, int64_t) noexcept {}, nullptr});
  journal.failing = "last_error";
  journal.fails = 9;
  CHECK(message_of<DeviceError>([&] { enqueue_kernel(op, kernel, {}, kCuda5); }) ==
        "add: cuda:5 must take the kernel, got error 9 (made up)");
}

}  // namespace gorgo
