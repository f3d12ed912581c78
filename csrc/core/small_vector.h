// A vector that keeps its first N elements inline; for short lists on the hot path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

namespace gorgo {

template <class T, int N>
class SmallVector {
 public:
  SmallVector() noexcept : data_(inline_data()) {}
  explicit SmallVector(std::span<const T> values) : SmallVector() {
    for (const T& v : values) push_back(v);
  }
  SmallVector(const SmallVector& o) : SmallVector() {
    reserve(o.size_);
    for (const T& v : o) push_back(v);
  }
  SmallVector(SmallVector&& o) noexcept : SmallVector() { take(o); }
  SmallVector& operator=(const SmallVector& o) {
    if (this != &o) {
      clear();
      reserve(o.size_);
      for (const T& v : o) push_back(v);
    }
    return *this;
  }
  SmallVector& operator=(SmallVector&& o) noexcept {
    if (this != &o) {
      clear();
      free_heap();
      take(o);
    }
    return *this;
  }
  ~SmallVector() {
    clear();
    free_heap();
  }

  [[nodiscard]] int size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  T* data() noexcept { return data_; }
  const T* data() const noexcept { return data_; }
  T& operator[](int i) noexcept { return data_[i]; }
  const T& operator[](int i) const noexcept { return data_[i]; }
  T* begin() noexcept { return data_; }
  T* end() noexcept { return data_ + size_; }
  const T* begin() const noexcept { return data_; }
  const T* end() const noexcept { return data_ + size_; }
  T& back() noexcept { return data_[size_ - 1]; }

  template <class... As>
  T& emplace_back(As&&... args) {
    if (size_ == capacity_) reserve(capacity_ * 2);
    T* at = nullptr;
    if constexpr (sizeof...(As) == 0 && std::is_class_v<T>) {
      at = new (static_cast<void*>(data_ + size_))
          T;  // not T(), which would clear the whole object before its initializers run
    } else {
      at = new (static_cast<void*>(data_ + size_)) T(std::forward<As>(args)...);
    }
    ++size_;
    return *at;
  }
  void push_back(T v) { emplace_back(std::move(v)); }
  void clear() noexcept {
    std::destroy_n(data_, size_);
    size_ = 0;
  }
  void resize(int n) {
    reserve(n);
    while (size_ > n) data_[--size_].~T();
    while (size_ < n) emplace_back();
  }
  void reserve(int n) {
    if (n <= capacity_) return;
    T* bigger = static_cast<T*>(::operator new(static_cast<size_t>(n) * sizeof(T), std::align_val_t{alignof(T)}));
    std::uninitialized_move_n(data_, size_, bigger);
    std::destroy_n(data_, size_);
    free_heap();
    data_ = bigger;
    capacity_ = n;
  }

 private:
  T* inline_data() noexcept { return reinterpret_cast<T*>(inline_); }
  void free_heap() noexcept {
    if (data_ != inline_data()) ::operator delete(static_cast<void*>(data_), std::align_val_t{alignof(T)});
    data_ = inline_data();
    capacity_ = N;
  }
  void take(SmallVector& o) noexcept {
    if (o.data_ != o.inline_data()) {
      data_ = std::exchange(o.data_, o.inline_data());
      size_ = std::exchange(o.size_, 0);
      capacity_ = std::exchange(o.capacity_, N);
    } else {
      std::uninitialized_move_n(o.data_, o.size_, data_);
      size_ = o.size_;
      o.clear();
    }
  }

  T* data_;
  int32_t size_ = 0;
  int32_t capacity_ = N;
  alignas(T) unsigned char inline_[sizeof(T) * N];
};

}  // namespace gorgo
