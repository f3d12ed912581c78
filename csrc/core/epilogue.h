// What may follow an op's sums before they are stored, as if by an elementwise op that alone reads the result.
//
// `linear_relu` is `linear` and then `relu`: same operands, same bits, one step. Epilogues with a saved value have one operand
// more than the op itself, the last: as the gradient's op, they take the sums for the gradient that arrives.
// Read next: opdef/epilogue.h (such ops), graph/passes/epilogue.h (who makes use of them).
#pragma once

#include <cstdint>

namespace gorgo {

enum class Epilogue : uint8_t { None, Relu, ReluBackward };

// The elementwise op's name.
[[nodiscard]] constexpr const char* name_of(Epilogue e) noexcept {
  return e == Epilogue::Relu ? "relu" : e == Epilogue::ReluBackward ? "relu_backward" : "";
}
[[nodiscard]] constexpr bool reads_saved(Epilogue e) noexcept { return e == Epilogue::ReluBackward; }

}  // namespace gorgo
