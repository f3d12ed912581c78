// What the struct of an elementwise op states, and the shorthand for its templates.
// Read next: functors.h.
#pragma once

#include <cstdint>

#include "core/dtype.h"

// Kernel files bring their namespace; the host file gets one of its own.
#ifdef GORGO_ISA_NS
#define GORGO_FUNCTOR_NS GORGO_ISA_NS
#else
#define GORGO_FUNCTOR_NS composed
#endif

namespace gorgo::GORGO_FUNCTOR_NS {

// The dtypes an op computes in. Integers and bool given to a floating op become float32.
enum class Takes : uint8_t { Numeric, Real, Float, FloatOrComplex, Integer, IntegerOrBool, Bool, Any };
enum class Gives : uint8_t { Same, Bool };
// What backward reads, as bits.
constexpr uint8_t kSavesNothing = 0;
constexpr uint8_t kSavesA = 1;
constexpr uint8_t kSavesB = 2;
constexpr uint8_t kSavesOut = 4;

struct Facts {
  const char* name;
  const char* doc;
  Takes takes;
  Gives gives = Gives::Same;
  uint8_t saves_a = 0;  // for the gradient by the first operand
  uint8_t saves_b = 0;  // for the gradient by the second
  const char* onnx = nullptr;
  int since_opset = 0;
  const char* onnx_reason = nullptr;  // when there is no such ONNX operator
  const char* no_gradient = nullptr;  // the reason, when there is no backward
  bool zero_gradient = false;         // piecewise constant: the gradient is zero wherever it exists
  bool composed_only = false;         // backward is so short that fusing it gains nothing
};

#define GORGO_FORWARD_1 \
  template <class V>    \
  GORGO_INLINE static auto forward(const V& x)
#define GORGO_BACKWARD_1                                                                   \
  template <class V>                                                                       \
  GORGO_INLINE static V backward([[maybe_unused]] const V& g, [[maybe_unused]] const V& x, \
                                 [[maybe_unused]] const V& y)
#define GORGO_FORWARD_2 \
  template <class V>    \
  GORGO_INLINE static auto forward(const V& a, const V& b)
#define GORGO_BACKWARD_2(which)                                                                    \
  template <class V>                                                                               \
  GORGO_INLINE static V backward_##which([[maybe_unused]] const V& g, [[maybe_unused]] const V& a, \
                                         [[maybe_unused]] const V& b, [[maybe_unused]] const V& y)

}  // namespace gorgo::GORGO_FUNCTOR_NS
