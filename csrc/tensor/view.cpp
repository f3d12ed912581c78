#include "tensor/view.h"

namespace gorgo {

ViewGeometry geometry_in_root(const TensorImpl& view) {
  const int64_t origin = view.base ? view.base->offset : view.offset;
  return {view.shape, view.strides, view.offset - origin};
}

bool may_overlap(const Shape& shape, const Strides& strides) noexcept {
  // From the smallest step up, each step must clear everything that the smaller ones can reach.
  int order[kMaxRank];
  int n = 0;
  const auto magnitude = [&](int axis) {
    const int64_t s = strides[axis];
    return s < 0 ? -s : s;
  };
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return false;
    if (shape[i] == 1) continue;
    int at = n++;
    for (; at > 0 && magnitude(order[at - 1]) > magnitude(i); --at) order[at] = order[at - 1];
    order[at] = i;
  }
  int64_t reach = 0;
  for (int i = 0; i < n; ++i) {
    const int64_t step = magnitude(order[i]);
    if (step <= reach) return true;
    reach += step * (shape[order[i]] - 1);
  }
  return false;
}

void check_geometry(const ViewGeometry& geometry, int64_t base_numel, const char* op) {
  if (geometry.shape.size() != geometry.strides.size()) {
    fail<ValueError>(op, ": strides must have one entry per axis of shape ", geometry.shape, ", got ",
                     geometry.strides);
  }
  if (numel_of(geometry.shape, op) == 0) return;
  int64_t lowest = geometry.offset;
  int64_t highest = geometry.offset;
  bool overflow = false;
  for (int i = 0; i < geometry.shape.size(); ++i) {
    int64_t reach = 0;
    overflow = overflow || __builtin_mul_overflow(geometry.strides[i], geometry.shape[i] - 1, &reach);
    int64_t& end = reach < 0 ? lowest : highest;
    overflow = overflow || __builtin_add_overflow(end, reach, &end);
  }
  if (overflow || lowest < 0 || highest >= base_numel) {
    fail<ValueError>(op, ": shape, strides and offset must stay within ", base_numel, " elements, got shape ",
                     geometry.shape, ", strides ", geometry.strides, " and offset ", geometry.offset);
  }
}

}  // namespace gorgo
