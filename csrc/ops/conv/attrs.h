// The attributes of the convolutions: one plain struct for all of them, which kernels may see.
//
// Sizes stand in the order of the axes: (depth, height, width), (height, width) or (length). How many there are is the op's affair: conv.cpp
// keeps a schema for each number of axes.
// Read next: conv.h.
#pragma once

#include "core/attrs.h"

namespace gorgo {

struct ConvAttrs {
  Dims stride;
  Dims padding;  // an entry for each axis, or two: those before the image, then those after it
  Dims dilation;
  Dims
      extra;  // what operands do not tell: a transposed convolution's output_padding, the gradient's kernel_size; else empty
  int64_t groups = 1;
};

}  // namespace gorgo
