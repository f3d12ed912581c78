#include "tensor/tensor.h"

#include <new>

#include "core/freelist.h"

namespace gorgo {

CaptureDeathFn capture_death_hook = nullptr;
RetainedDeathFn retained_death_hook = nullptr;

TensorImpl* TensorImpl::create() { return new (FreeList<TensorImpl>::take()) TensorImpl; }

void TensorImpl::destroy() noexcept {
  if (capture_serial != 0 && capture_death_hook != nullptr) capture_death_hook(capture_serial, capture_value);
  if (retains_grad && retained_death_hook != nullptr) retained_death_hook(*this);
  if (storage != nullptr) storage->release();
  this->~TensorImpl();
  FreeList<TensorImpl>::give(this);
}

Tensor make_tensor(const Shape& shape, DType dtype, Device device) {
  const int64_t numel = numel_of(shape);
  int64_t bytes = 0;
  if (__builtin_mul_overflow(numel, dtype_size(dtype), &bytes)) {
    fail<OverflowError>("tensor: shape must take fewer than 2**63 bytes, got ", shape, " of dtype ", dtype);
  }
  Tensor t = Tensor::adopt(TensorImpl::create());
  t->dtype = dtype;
  t->storage = allocate_storage(device, static_cast<size_t>(bytes));
  t->numel = numel;
  t->shape = shape;
  t->strides = contiguous_strides(shape);
  return t;
}

Tensor make_tensor_over(Storage* storage, const Shape& shape, DType dtype) {
  Tensor t = Tensor::adopt(TensorImpl::create());
  storage->retain();
  t->dtype = dtype;
  t->storage = storage;
  t->numel = numel_of(shape);
  t->shape = shape;
  t->strides = contiguous_strides(shape);
  return t;
}

Tensor make_view(TensorImpl& of, const Shape& shape, const Strides& strides, int64_t offset) {
  Tensor t = Tensor::adopt(TensorImpl::create());
  of.storage->retain();
  t->dtype = of.dtype;
  t->storage = of.storage;
  t->offset = offset;
  t->numel = numel_of(shape);
  t->shape = shape;
  t->strides = strides;
  t->contiguous = is_contiguous(shape, strides);
  t->base = Tensor::share(of.root());
  t->detached = of.detached;
  t->tape_version = of.storage->version.load(std::memory_order_relaxed);
  return t;
}

Tensor make_alias(const Tensor& of) {
  Tensor t = make_view(*of, of->shape, of->strides, of->offset);
  t->base = nullptr;
  t->detached = true;
  return t;
}

}  // namespace gorgo
