// The tensor: storage + offset + shape + strides + dtype, a slot for the tape, and a weak pointer to its Python object.
//
// Invariants: shape, strides, offset and dtype never change after construction. Outputs of ops are contiguous and own their
// storage; everything else is a view and names its base, which is always a contiguous tensor that is no view itself, so a
// view is fully described by (offset - base offset, shape, strides). A tensor is refcounted without the GIL.
// Read next: view.h (how views are cut), autograd/tape.h (what the slot holds), dispatch/call.h (who makes tensors).
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "core/shape.h"
#include "memory/storage.h"

namespace gorgo {

struct TensorImpl;

// What a tape record is to the tensor that holds it; the tape derives its node from this.
class TapeNode {
 public:
  std::atomic<int32_t> refs{1};
  void retain() noexcept { refs.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (refs.load(std::memory_order_acquire) == 1 || refs.fetch_sub(1, std::memory_order_acq_rel) == 1) dispose();
  }

 protected:
  ~TapeNode() = default;

 private:
  virtual void dispose() noexcept = 0;
};

// An owning pointer to anything with retain() and release().
template <class T>
class Ref {
 public:
  Ref() noexcept = default;
  // NOLINTNEXTLINE(google-explicit-constructor)
  Ref(std::nullptr_t) noexcept {}
  static Ref adopt(T* p) noexcept {  // takes over a reference that the caller owns
    Ref r;
    r.p_ = p;
    return r;
  }
  static Ref share(T* p) noexcept {  // adds one
    if (p != nullptr) p->retain();
    return adopt(p);
  }
  Ref(const Ref& o) noexcept : p_(o.p_) {
    if (p_ != nullptr) p_->retain();
  }
  Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Ref& operator=(Ref o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Ref() {
    if (p_ != nullptr) p_->release();
  }
  [[nodiscard]] T* get() const noexcept { return p_; }
  T* operator->() const noexcept { return p_; }
  T& operator*() const noexcept { return *p_; }
  explicit operator bool() const noexcept { return p_ != nullptr; }
  [[nodiscard]] T* detach() noexcept { return std::exchange(p_, nullptr); }
  friend bool operator==(const Ref& a, const Ref& b) noexcept { return a.p_ == b.p_; }

 private:
  T* p_ = nullptr;
};

using Tensor = Ref<TensorImpl>;

struct TensorImpl {
  std::atomic<int32_t> refs{1};
  DType dtype = DType::Float32;
  bool contiguous = true;
  bool requires_grad = false;
  bool is_parameter = false;     // set by nn.Parameter; a mark for Module, nothing else
  bool detached = false;         // a view that the tape does not connect to its base
  bool retains_grad = false;     // keep .grad though this is no leaf
  bool from_compiled = false;    // a result of a compiled function: has no tape, and errors say so
  bool grad_in_capture = false;  // its gradient was local to a captured step
  Storage* storage = nullptr;    // owned reference
  int64_t offset = 0;            // in elements
  int64_t numel = 0;
  Shape shape;
  Strides strides;
  Ref<TensorImpl> base;  // for a view: the tensor whose elements these are
  // The tape's slot: the record that made this value and which of its outputs this is; null for a leaf.
  Ref<TapeNode> grad_fn;
  int32_t output_index = 0;
  uint32_t tape_version = 0;  // the storage's version when grad_fn was set; a view behind it derives itself anew
  Ref<TensorImpl> grad;       // guarded by the striped lock in autograd/accumulate
  // The capture's slot: which IR value this is; see graph/capture.h.
  uint32_t capture_serial = 0;
  int32_t capture_value = -1;
  uint32_t capture_version = 0;
  std::atomic<void*> python{nullptr};  // weak pointer back to the one Python object; bindings only

  // All on one thread-local freelist.
  [[nodiscard]] static TensorImpl* create();
  void retain() noexcept { refs.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (refs.load(std::memory_order_acquire) == 1 || refs.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy();
  }
  [[nodiscard]] bool unique() const noexcept { return refs.load(std::memory_order_acquire) == 1; }

  [[nodiscard]] int rank() const noexcept { return shape.size(); }
  [[nodiscard]] Device device() const noexcept { return storage->device; }
  [[nodiscard]] void* data() const noexcept {
    return static_cast<unsigned char*>(storage->data) + offset * dtype_size(dtype);
  }
  [[nodiscard]] bool is_leaf() const noexcept { return !grad_fn; }
  // The tensor whose value holds these elements: the base of a view, else itself.
  [[nodiscard]] TensorImpl* root() noexcept { return base ? base.get() : this; }

 private:
  void destroy() noexcept;
};

// A tensor over fresh, undefined bytes. Throws OverflowError, OutOfMemoryError.
[[nodiscard]] Tensor make_tensor(const Shape& shape, DType dtype, Device device);
// A tensor over given storage (shared); contiguous, offset zero.
[[nodiscard]] Tensor make_tensor_over(Storage* storage, const Shape& shape, DType dtype);
// A view of `of`: same storage, its root as base, no tape record. The caller (the funnel) has checked bounds.
[[nodiscard]] Tensor make_view(TensorImpl& of, const Shape& shape, const Strides& strides, int64_t offset);
// The same elements under the same shape, without tape slot and without base: what a record saves of its own outputs, which
// must not lead back to the record.
[[nodiscard]] Tensor make_alias(const Tensor& of);

// Called when a tensor dies that a live capture knows; filled in by graph/capture.
using CaptureDeathFn = void (*)(uint32_t serial, int32_t value) noexcept;
extern CaptureDeathFn capture_death_hook;

// Called when a tensor with retains_grad dies, so that its record forgets it; filled in by the tape.
using RetainedDeathFn = void (*)(TensorImpl& tensor) noexcept;
extern RetainedDeathFn retained_death_hook;

}  // namespace gorgo
