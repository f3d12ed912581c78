// Between devices: an op, so that gradients travel back. The funnel copies the elements (OpFlags::transfer).
#include "device/backend.h"
#include "device/cuda/device.h"
#include "ops/creation/creation.h"

namespace gorgo {
namespace {

void check_device(const InferContext& c, const char* which, int64_t type, int64_t index) {
  constexpr auto kCuda = static_cast<int64_t>(DeviceType::Cuda);
  if (type < 0 || type >= kDeviceTypeCount) {
    fail<ValueError>(c.name(), ": ", which, "_type must be in [0, ", kDeviceTypeCount, "), got ", type);
  }
  const int64_t count = type == kCuda ? cuda_device_count() : 1;
  if (index < 0 || index >= count) {
    fail<ValueError>(c.name(), ": ", which, "_index must be in [0, ", count, "), got ", index);
  }
}

void infer_to_device(InferContext& c) {
  const auto& a = c.attrs_as<TransferAttrs>();
  check_device(c, "to", a.to_type, a.to_index);
  check_device(c, "from", a.from_type, a.from_index);
  c.compute_dtype = c.dtype(0);
  c.device = a.to();
  c.non_blocking = a.non_blocking;
  c.add_output(c.dtype(0), c.shape(0));
}

void vjp_to_device(VjpContext& c) {
  const TransferAttrs back = c.attrs_as<TransferAttrs>().reversed();
  c.set(0, invoke(*creation_ops.to_device, {c.grad()}, &back));
}

}  // namespace

void register_transfer(Registry& registry) {
  OpDef op;
  op.name = "to_device";
  op.doc = "Copy a tensor to another device.";
  op.inputs = {{.name = "x", .shape_doc = "(...) any"}};
  op.attrs = &schema_of<TransferAttrs>();
  op.infer = infer_to_device;
  op.vjp = vjp_to_device;
  op.onnx = {nullptr, 0, "ONNX leaves devices to the runtime"};
  op.flags.host = true;
  op.flags.transfer = true;
  op.flags.linear = true;
  op.flags.internal = true;
  creation_ops.to_device = &registry.add(std::move(op));
}

Tensor to_device(const Tensor& x, Device device, bool non_blocking) {
  if (x->device() == device) return x;
  const TransferAttrs attrs = TransferAttrs::between(x->device(), device, non_blocking);
  return invoke(*creation_ops.to_device, {x}, &attrs);
}

}  // namespace gorgo
