// The creation family: tensors made from nothing but numbers. They are ops, so that a captured program makes them anew at
// each run. Read next: attrs.h, bindings/bind_creation.cpp (the public functions, which compute these attributes).
#pragma once

#include "opdef/invoke.h"
#include "opdef/registry.h"
#include "ops/creation/attrs.h"

namespace gorgo {

void register_creation(Registry& registry);
void register_transfer(Registry& registry);  // transfer.cpp

// From one device to another, as numbers (DeviceType, index).
struct TransferAttrs {
  int64_t to_type = 0;
  int64_t to_index = 0;
  int64_t from_type = 0;
  int64_t from_index = 0;
  bool non_blocking = false;  // the host's memory stays as it is until the copy is over; the caller sees to that
  static constexpr auto fields() {
    return std::array{GORGO_FIELD(TransferAttrs, to_type).must(), GORGO_FIELD(TransferAttrs, to_index).must(),
                      GORGO_FIELD(TransferAttrs, from_type).must(), GORGO_FIELD(TransferAttrs, from_index).must(),
                      GORGO_FIELD(TransferAttrs, non_blocking)};
  }
  static TransferAttrs between(Device from, Device to, bool non_blocking = false) {
    return {static_cast<int64_t>(to.type), to.index, static_cast<int64_t>(from.type), from.index, non_blocking};
  }
  [[nodiscard]] Device to() const { return {static_cast<DeviceType>(to_type), static_cast<uint8_t>(to_index)}; }
  [[nodiscard]] TransferAttrs reversed() const { return {from_type, from_index, to_type, to_index, false}; }
};

struct CreationOps {
  const OpDef* full = nullptr;
  const OpDef* ramp = nullptr;
  const OpDef* eye = nullptr;
  const OpDef* to_device = nullptr;
};
extern CreationOps creation_ops;

[[nodiscard]] inline Tensor full(const Shape& shape, const Scalar& value, DType dtype) {
  const FullAttrs attrs{shape, value, dtype};
  return invoke(*creation_ops.full, {}, &attrs);
}

// The same elements on that device; x itself if it is there.
[[nodiscard]] Tensor to_device(const Tensor& x, Device device, bool non_blocking = false);

// 0, 1, ..., count - 1 as int64.
[[nodiscard]] inline Tensor whole_numbers(int64_t count) {
  RampAttrs attrs;
  attrs.start = Scalar::of_int(0);
  attrs.step = Scalar::of_int(1);
  attrs.count = count;
  attrs.dtype = DType::Int64;
  return invoke(*creation_ops.ramp, {}, &attrs);
}

}  // namespace gorgo
