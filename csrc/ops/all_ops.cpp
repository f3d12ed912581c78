// One line per family: a family that stands here is registered and gets its kernels (those for CUDA: all_cuda.cu).
#include "ops/all_ops.h"

#include "device/cpu/isa_list.h"
#include "device/cuda/plugin.h"
#include "opdef/registry.h"

#define GORGO_FOR_EACH_FAMILY(X) \
  X(attention)                   \
  X(conv)                        \
  X(creation)                    \
  X(elementwise)                 \
  X(index)                       \
  X(matmul)                      \
  X(pool)                        \
  X(random)                      \
  X(reduce)                      \
  X(scan)                        \
  X(resample)                    \
  X(softmax)                     \
  X(loss)                        \
  X(norm)                        \
  X(shape)                       \
  X(sort)                        \
  X(update)

namespace gorgo {

#define GORGO_DECLARE_FILL(space, isa, family) \
  namespace space {                            \
  void fill_##family(KernelSink& sink);        \
  }
#define GORGO_DECLARE(family)                 \
  void register_##family(Registry& registry); \
  GORGO_FOR_EACH_ISA(GORGO_DECLARE_FILL, family)
GORGO_FOR_EACH_FAMILY(GORGO_DECLARE)
GORGO_FOR_EACH_PRODUCT_ISA(GORGO_DECLARE_FILL, matmul)
GORGO_WITH_AMX(GORGO_DECLARE_FILL, conv)

namespace {

class DeviceSink final : public KernelSink {
 public:
  explicit DeviceSink(DeviceType type) : type_(type) {}
  void add(const char* op, DType dtype, const Kernel& kernel) override {
    Registry::instance().set_kernel(op, type_, dtype, kernel);
  }
  const Kernel& below(const char* op, DType dtype) const override {
    return *Registry::instance().get(op).kernels[static_cast<int>(type_)][static_cast<int>(dtype)];
  }

 private:
  DeviceType type_;
};

}  // namespace

void register_all_ops() {
  Registry& registry = Registry::instance();
#define GORGO_REGISTER(family) register_##family(registry);
  GORGO_FOR_EACH_FAMILY(GORGO_REGISTER)

  // Ascending, so that a higher set replaces what it has and inherits the rest.
  [[maybe_unused]] const Isa isa = chosen_isa();
  DeviceSink sink(DeviceType::Cpu);
#define GORGO_FILL(space, name, family) \
  if (isa >= Isa::name) space::fill_##family(sink);
#define GORGO_FILL_ALL(family) GORGO_FOR_EACH_ISA(GORGO_FILL, family)
  GORGO_FOR_EACH_FAMILY(GORGO_FILL_ALL)
  GORGO_FOR_EACH_PRODUCT_ISA(GORGO_FILL, matmul)
  GORGO_WITH_AMX(GORGO_FILL, conv)
  take_cuda_kernels = [](void (*fill)(KernelSink&)) {
    DeviceSink cuda_sink(DeviceType::Cuda);
    fill(cuda_sink);
  };
  static_cast<void>(sink);
  static_cast<void>(registry);
}

}  // namespace gorgo
