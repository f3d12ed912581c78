// The error of dtypes that do not meet, told apart from others so that the funnel can say whose operands they are.
// Read next: dtype.h (promote).
#pragma once

#include "core/check.h"
#include "core/dtype.h"

namespace gorgo {

// What follows the op's name in a message.
class NoCommonDType : public TypeError {
 public:
  NoCommonDType(DType a, DType b)
      : TypeError(cat("operands must have a common dtype, got ", a, " and ", b, " (cast one with astype)")) {}
};

}  // namespace gorgo
