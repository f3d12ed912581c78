// A stream of random numbers for one element of a draw, for methods that need an unknown number of them.
//
// Element i owns the Philox blocks i + a * 2**48 for a = 0, 1, ... under the key of its call: what one element rejects never
// moves another's numbers, and the first blocks of neighbours are made side by side. Invariant: what is drawn for an element
// depends on seed, counter and its flat index alone.
// Read next: kernels_cpu_sample.cpp (the methods).
#pragma once

#include <cstdint>

#include "core/kernel_args.h"
#include "kernels/math.h"
#include "ops/random/philox.h"

namespace gorgo::GORGO_ISA_NS {

// The stream of a call, from the operand that holds its key.
[[nodiscard]] GORGO_INLINE PhiloxStream stream_of(const KOperand& key) noexcept {
  const auto* words = key.as<const uint64_t>();
  return {words[0], words[key.strides[0]]};
}

struct Turn {
  double cos;
  double sin;
};
// The cosine and sine of t turns, t in [0, 1), without the C library: their series on an eighth of a turn.
GORGO_INLINE Turn turn(double t) noexcept {
  constexpr double kSin[] = {-1.0 / 6,        1.0 / 120,          -1.0 / 5040,           1.0 / 362880,
                             -1.0 / 39916800, 1.0 / 6227020800.0, -1.0 / 1307674368000.0};
  constexpr double kCos[] = {-0.5,           1.0 / 24,          -1.0 / 720,           1.0 / 40320,
                             -1.0 / 3628800, 1.0 / 479001600.0, -1.0 / 87178291200.0, 1.0 / 20922789888000.0};
  // NOLINTNEXTLINE(bugprone-incorrect-roundings): halves may go up, and nothing is negative
  const double quarter = static_cast<double>(static_cast<int>(4.0 * t + 0.5));
  const double r = (t - 0.25 * quarter) * 6.283185307179586476925286766559;
  const double z = r * r;
  double s = kSin[6];
  double c = kCos[7];
  for (int i = 5; i >= 0; --i) s = kSin[i] + z * s;
  for (int i = 6; i >= 0; --i) c = kCos[i] + z * c;
  s = r + r * z * s;
  c = 1.0 + z * c;
  const int quadrant = static_cast<int>(quarter);
  const bool odd = (quadrant & 1) != 0;
  const double sign = (quadrant & 2) != 0 ? -1.0 : 1.0;
  return {sign * (odd ? -s : c), sign * (odd ? c : s)};
}

class Substream {
 public:
  // `words` are the element's first block.
  GORGO_INLINE Substream(const PhiloxStream& stream, int64_t element, const uint32_t* words) noexcept
      : stream_(stream), block_(static_cast<uint64_t>(element)) {
    for (int i = 0; i < 4; ++i) words_[i] = words[i];
  }

  GORGO_INLINE uint64_t next() noexcept {
    if (at_ == 4) {
      block_ += uint64_t{1} << 48;
      philox_blocks<1>(stream_, block_, words_);
      at_ = 0;
    }
    const uint64_t low = words_[at_];
    const uint64_t high = words_[at_ + 1];
    at_ += 2;
    return low | high << 32;
  }
  // A multiple of 2**-53 in [0, 1).
  GORGO_INLINE double unit() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }
  // An odd multiple of 2**-53 in (0, 1): neither end, and even about the middle.
  GORGO_INLINE double open_unit() noexcept { return static_cast<double>(next() >> 12 << 1 | 1) * 0x1p-53; }
  // Source: Box, Muller, "A note on the generation of random normal deviates", Ann. Math. Stat. 29 (1958).
  GORGO_INLINE double normal() noexcept {
    const double radius = sqrt(-2.0 * log(open_unit()));
    return radius * turn(unit()).cos;
  }

 private:
  PhiloxStream stream_;
  uint64_t block_;
  uint32_t words_[4];
  int at_ = 0;
};

}  // namespace gorgo::GORGO_ISA_NS
