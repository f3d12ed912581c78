// Enqueueing, and the book of faults that may have happened. See enqueue.h.
#include "opdef/enqueue.h"

#include <algorithm>
#include <array>
#include <mutex>

#include "device/backend.h"
#include "device/cuda/device.h"

namespace gorgo {
namespace {

constexpr int kEagerSlots = 256;

struct Expected {
  std::shared_ptr<FaultSlots> slots;
  int index;
  std::shared_ptr<const SavedCall> call;
};

// Faults expected on one device. Eager calls take the slots of one array in turn; it starts again when all are read.
struct FaultBook {
  std::mutex lock;
  std::vector<Expected> expected;
  std::shared_ptr<FaultSlots> eager;
  int taken = 0;    // of the eager slots
  int entered = 0;  // of those, how many stand in `expected`
};

FaultBook& book_of(Device device) {
  static auto* books = new std::array<FaultBook, kMaxCudaDevices>;
  return (*books)[device.index];
}

// A slot for one eager call; -1 when all are taken.
int take_slot(FaultBook& book, Device device) {
  const std::lock_guard<std::mutex> guard(book.lock);
  if (!book.eager) book.eager = std::make_shared<FaultSlots>(device, kEagerSlots);
  return book.taken < kEagerSlots ? book.taken++ : -1;
}

}  // namespace

SavedCall::SavedCall(const OpDef& op, const KernelArgs& args) : op_(op), attrs_(op.attrs, args.attrs) {
  const int count = args.in_count + args.out_count;
  operands_.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    KOperand& kept = operands_.emplace_back(i < args.in_count ? args.in[i] : args.out[i - args.in_count]);
    kept.data = nullptr;
    const auto keep = [&](const int64_t* dims) {
      Dims copy(kept.rank, 0);
      for (int a = 0; a < kept.rank; ++a) copy[a] = dims[a];
      dims_.push_back(std::make_unique<Dims>(copy));
      return dims_.back()->data();
    };
    if (kept.shape != nullptr) kept.shape = keep(kept.shape);
    if (kept.strides != nullptr) kept.strides = keep(kept.strides);
  }
  args_.in = operands_.data();
  args_.out = operands_.data() + args.in_count;
  args_.in_count = args.in_count;
  args_.out_count = args.out_count;
  args_.attrs = attrs_.get();
}

void SavedCall::raise(const DeviceFault& found) const {
  Fault fault;
  fault.report(found.position, found.code, found.figures[0], found.figures[1]);
  op_.raise_fault(fault, args_);
  fail<StateError>(op_.name, ": raise_fault must throw, got a return for code ", found.code);
}

FaultSlots::FaultSlots(Device device, int slot_count) : count(slot_count) {
  const size_t bytes = sizeof(DeviceFault) * static_cast<size_t>(count);
  use_cuda_device(device);
  memory = allocate_storage(device, bytes);
  // On every stream's behalf: whoever uses the slots comes after.
  check_cuda(cuda_driver->fill(memory->data, 0, bytes, current_stream(device)), "faults");
  check_cuda(cuda_driver->synchronize_stream(current_stream(device)), "faults");
}

FaultSlots::~FaultSlots() { memory->release(); }

void enqueue_phases(const OpDef& op, const Kernel& kernel, const KernelArgs& args, Device device) {
  for (int i = 0; i < kernel.phase_count; ++i) kernel.phases[i].run(args, 0);
  const int code = cuda_driver->last_error();
  if (code != 0) [[unlikely]] {
    fail<DeviceError>(op.name, ": ", device_name(device), " must take the kernel, got error ", code, " (",
                      cuda_driver->error_text(code), ")");
  }
}

void enqueue_kernel(const OpDef& op, const Kernel& kernel, KernelArgs args, Device device) {
  use_cuda_device(device);
  const uint64_t stream = current_stream(device);
  args.stream = reinterpret_cast<void*>(stream);  // NOLINT(performance-no-int-to-ptr): a handle, as the driver gave it
  struct Scratch {
    BlockPool* pool = nullptr;
    Block* block = nullptr;
    ~Scratch() {
      if (block != nullptr) pool->release(block);  // given out again in the order of the stream
    }
  } scratch;
  const size_t bytes = kernel.scratch_bytes != nullptr ? kernel.scratch_bytes(args) : 0;
  if (bytes != 0) {
    scratch.pool = &cuda_pool(device.index);
    scratch.block = scratch.pool->allocate(bytes, stream);
    args.scratch = scratch.block->data;
  }
  if (op.raise_fault == nullptr) {
    enqueue_phases(op, kernel, args, device);
    return;
  }
  FaultBook& book = book_of(device);
  int slot = take_slot(book, device);
  if (slot < 0) {
    raise_device_faults(device);
    slot = take_slot(book, device);
  }
  // Where other threads hold every slot, the call gets one of its own.
  const std::shared_ptr<FaultSlots> slots = slot >= 0 ? book.eager : std::make_shared<FaultSlots>(device, 1);
  slot = slot >= 0 ? slot : 0;
  args.device_fault = slots->at(slot);
  struct Enter {
    Device device;
    std::shared_ptr<FaultSlots> slots;
    int slot;
    std::shared_ptr<const SavedCall> call;
    ~Enter() { expect_fault(device, std::move(slots), slot, std::move(call)); }
  } enter{device, slots, slot, std::make_shared<const SavedCall>(op, args)};
  enqueue_phases(op, kernel, args, device);
}

void expect_fault(Device device, std::shared_ptr<FaultSlots> slots, int i, std::shared_ptr<const SavedCall> call) {
  FaultBook& book = book_of(device);
  const std::lock_guard<std::mutex> guard(book.lock);
  if (slots == book.eager) {
    ++book.entered;
  } else if (std::any_of(book.expected.begin(), book.expected.end(),
                         [&](const Expected& e) { return e.slots == slots && e.index == i; })) {
    return;  // a replay before this one entered it already
  }
  book.expected.push_back({std::move(slots), i, std::move(call)});
}

void raise_device_faults(Device device) {
  FaultBook& book = book_of(device);
  std::shared_ptr<const SavedCall> first;
  DeviceFault found{};
  {
    const std::lock_guard<std::mutex> guard(book.lock);
    if (book.expected.empty()) return;
    cuda_synchronize(device);
    const FaultSlots* read = nullptr;
    std::vector<DeviceFault> host;
    std::vector<std::shared_ptr<FaultSlots>> dirty;
    for (const Expected& e : book.expected) {
      if (e.slots.get() != read) {
        read = e.slots.get();
        host.resize(static_cast<size_t>(read->count));
        cuda_copy(host.data(), kCpu, read->memory->data, device, host.size() * sizeof(DeviceFault));
      }
      const DeviceFault& here = host[static_cast<size_t>(e.index)];
      if (here.code == 0) continue;
      if (!first) {
        first = e.call;
        found = here;
      }
      if (dirty.empty() || dirty.back() != e.slots) dirty.push_back(e.slots);
    }
    for (const auto& slots : dirty) {
      check_cuda(cuda_driver->fill(slots->memory->data, 0, sizeof(DeviceFault) * static_cast<size_t>(slots->count),
                                   current_stream(device)),
                 "faults");
    }
    if (!dirty.empty()) cuda_synchronize(device);
    book.expected.clear();
    if (book.entered == book.taken) book.taken = 0;
    book.entered = book.taken == 0 ? 0 : book.entered;
  }
  if (first) first->raise(found);
}

}  // namespace gorgo
