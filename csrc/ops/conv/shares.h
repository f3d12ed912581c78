// The transposed convolution of small images: the shares that each of their pixels gives to the elements it stands over.
//
// Shares are a product: pixels are rows of A, read in place, the weights of some channels, all taps of each, are columns of B, which lie side by side
// in memory. So a few pixels fill vectors, and the weights keep their order. Shares are then added up in a plane with room around it, which goes to
// the image. For kernel files (compiled per ISA).
// Invariant: sizes are those of the convolution whose gradient this is: x has its windows, the result its images. The order of every sum depends on the
// shape of one image alone.
// Read next: phases.h.
#pragma once

#include "kernels/gemm/micro.h"
#include "ops/conv/windows.h"

namespace gorgo::GORGO_ISA_NS {
namespace {

// Pixels of an image; by unit strides its windows, as many, fill vectors sooner.
constexpr int64_t kMostPixels = 36;
constexpr int64_t kMostPixelsByOne = 25;
constexpr int64_t kFewestShares = 64;           // of a pixel
constexpr int64_t kMostOfPlane = 1024;          // elements
constexpr int64_t kPlanesAtOnce = 4;            // additions to one plane wait for each other
constexpr int64_t kWeightBytes = 96 * 1024;     // of a block, near the core, and bearable on the stack
constexpr int64_t kSharesBytes = 32 * 1024;     // the same
constexpr int64_t kSharesTasks = 16;            // each packs weights of its own
constexpr int64_t kRowsThatRepayAnother = 128;  // pixels beside which packing a block again is little

// Whether images are so small that neither rows of windows nor whole images fill vectors.
template <class T>
[[gnu::noinline]] bool gives_shares(const Sizes& s) {
  constexpr int64_t kSize = sizeof(T);
  const int64_t most_pixels = s.has_unit_strides() ? kMostPixelsByOne : kMostPixels;
  if (s.pixels == 0 || s.pixels > most_pixels || s.taps == 1 || s.k < kFewestShares || s.group_o == 0) return false;
  const auto extent = [](int64_t pixels, int64_t stride, int64_t kernel, int64_t step) {
    return least(kMostOfPlane + 1, (pixels - 1) * stride + (kernel - 1) * step + 1);
  };
  return extent(s.od, s.stride_d, s.kd, s.step_d) * extent(s.oh, s.stride_h, s.kh, s.step_h) *
                 extent(s.ow, s.stride_w, s.kw, s.step_w) <=
             kMostOfPlane &&
         round_up(s.taps, kPanelColumns<T>) * blocks_of_k(s.group_o).size * kSize <= kWeightBytes &&
         s.taps * s.pixels * kSize <= kSharesBytes;
}

struct SharesPlan {
  int64_t channels;  // of a block
  int64_t blocks;    // of a group
  int64_t columns;   // of a block
  int64_t parts;     // of all images, one for each task of a block
  int64_t images;    // whose shares are made together
  bool packs;
  int64_t plane_d, plane_h, plane_w, plane;  // with room for all that windows stand over

  int64_t tasks(const Sizes& s) const { return s.groups * blocks * parts; }
};

template <class T>
[[gnu::noinline]] SharesPlan shares_plan(const Sizes& s) {
  constexpr int64_t kSize = sizeof(T);
  SharesPlan p;
  // Of about as many channels as there is room for, those that fill their panels best.
  const auto padded = [&](int64_t channels) { return round_up(channels * s.taps, kPanelColumns<T>); };
  const int64_t rows = blocks_of_k(s.group_o).size;
  int64_t most_channels = least(s.group_c, kSharesBytes / (s.pixels * s.taps * kSize));
  while (padded(most_channels) * rows * kSize > kWeightBytes) --most_channels;
  p.channels = most_channels;
  for (int64_t fewer = most_channels - 1; 2 * fewer >= most_channels; --fewer) {
    if (padded(fewer) * p.channels < padded(p.channels) * fewer) p.channels = fewer;
  }
  p.blocks = ceil_div(s.group_c, p.channels);
  p.columns = p.channels * s.taps;
  const int64_t tasks = most(1, least(kSharesTasks, s.n * s.pixels * s.k * s.o / kTaskWork));
  p.parts = most(1, least(least(s.n, tasks / (s.groups * p.blocks)), s.n * s.pixels / kRowsThatRepayAnother));
  const int64_t most_images = ceil_div(s.n, p.parts);
  p.images = most(1, least(most_images, kSharesBytes / (s.pixels * p.columns * kSize)));
  p.packs = most_images * s.pixels > Lanes<T>::kRows;
  p.plane_d = (s.od - 1) * s.stride_d + (s.kd - 1) * s.step_d + 1;
  p.plane_h = (s.oh - 1) * s.stride_h + (s.kh - 1) * s.step_h + 1;
  p.plane_w = (s.ow - 1) * s.stride_w + (s.kw - 1) * s.step_w + 1;
  p.plane = p.plane_d * p.plane_h * p.plane_w;
  return p;
}

// Rows of weights, `columns` of each, as panels: a row after the other, since they lie far apart.
template <class T>
void pack_shared_weights(const Sizes& s, const T* weight, int64_t rows, int64_t columns, T* packed) {
  using L = Lanes<T>;
  constexpr int64_t kColumns = kPanelColumns<T>;
  constexpr int64_t kAhead = 4;
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
  const int64_t whole = columns / L::kWidth * L::kWidth;
  const auto edge = L::edge(static_cast<int>(columns - whole));
  for (int64_t o = 0; o < rows; ++o, weight += s.k, packed += kColumns) {
    if (o + kAhead < rows) {
      for (int64_t j = 0; j < columns; j += kLine) __builtin_prefetch(weight + kAhead * s.k + j);
    }
    const auto to = [&](int64_t j) { return packed + j / kColumns * kColumns * rows + j % kColumns; };
    for (int64_t j = 0; j < whole; j += L::kWidth) L::store(to(j), L::load(weight + j));
    if (whole < columns) L::store(to(whole), L::load_edge(weight + whole, edge));
  }
}

// The shares of `images` images, a pixel's side by side, `columns` of them. With `packs_now` the weights are packed before they are multiplied.
template <class T>
void make_shares(const Sizes& s, const SharesPlan& p, const T* x, const Images<T>& all, int64_t images, const T* weight,
                 bool packs_now, int64_t columns, T* packed, T* shares) {
  constexpr int64_t kColumns = kPanelColumns<T>;
  const BlocksOfK blocks = blocks_of_k(s.group_o);
  // Images of one pixel are rows of one strip.
  const bool single = s.pixels == 1;
  const int64_t rows = single ? images : s.pixels;
  const int64_t strips = ceil_div(rows, Lanes<T>::kRows);
  MicroArgs<T> g;
  g.a_row_stride = all.n_stride;
  g.a_col_stride = all.c_stride;
  g.b_row_stride = p.packs ? kColumns : s.k;
  g.c_row_stride = p.columns;
  for (int64_t kb = 0; kb < blocks.count; ++kb) {
    const int64_t o = kb * blocks.size;
    g.k = least(blocks.size, s.group_o - o);
    g.add = kb > 0;
    if (packs_now) pack_shared_weights<T>(s, weight + o * s.k, g.k, columns, packed);
    for (int64_t column = 0; column < columns; column += kColumns) {
      const auto width = static_cast<int>(least(kColumns, columns - column));
      g.b = p.packs ? packed + column * g.k : weight + o * s.k + column;
      for (int64_t image = 0; image < (single ? 1 : images); ++image) {
        for (int64_t strip = 0; strip < strips; ++strip) {
          const int64_t row = rows * strip / strips;
          g.a = x + image * all.n_stride + o * all.c_stride + (single ? row * all.n_stride : row);
          g.c = shares + (image * s.pixels + row) * p.columns + column;
          run_micro(g, static_cast<int>(rows * (strip + 1) / strips - row), width, !single);
        }
      }
    }
  }
}

// Adds the shares of an image's pixels, from one channel's on, to `channels` planes. Pixels whose windows meet are taken one after the other's
// neighbours, so that what was stored last is not loaded again at once. kFour: rows of taps are added as vectors of four.
template <bool kFour, class T>
void add_shares(const Sizes& s, const SharesPlan& p, const T* shares, int64_t channels, T* planes) {
  using V = Vec<T, 4>;
  using I = Vec<SignedLike<T>, 4>;
  [[maybe_unused]] const auto taps = iota<I>() < broadcast<I>(static_cast<SignedLike<T>>(s.kw));
  const int64_t apart_h = ceil_div((s.kh - 1) * s.step_h + 1, s.stride_h);
  const int64_t apart_w = ceil_div(kFour ? 4 : (s.kw - 1) * s.step_w + 1, s.stride_w);
  for (int64_t slice = 0; slice < s.od * s.kd; ++slice) {
    const int64_t z = slice / s.kd;
    const int64_t l = slice % s.kd;
    for (int64_t pass = 0; pass < least(apart_h, s.oh) * least(apart_w, s.ow); ++pass) {
      for (int64_t y = pass / least(apart_w, s.ow); y < s.oh; y += apart_h) {
        for (int64_t i = 0; i < s.kh; ++i) {
          T* const line =
              planes + ((z * s.stride_d + l * s.step_d) * p.plane_h + y * s.stride_h + i * s.step_h) * p.plane_w;
          for (int64_t x = pass % least(apart_w, s.ow); x < s.ow; x += apart_w) {
            const T* from = shares + ((z * s.oh + y) * s.ow + x) * p.columns + (l * s.kh + i) * s.kw;
            T* to = line + x * s.stride_w;
            for (int64_t c = 0; c < channels; ++c, from += s.taps, to += p.plane) {
              if constexpr (kFour) {
                store_raw(to, load_raw<V>(to) + select(taps, load_raw<V>(from), broadcast<V>(T{0})));
              } else {
                for (int64_t j = 0; j < s.kw; ++j) to[j * s.step_w] = to[j * s.step_w] + from[j];
              }
            }
          }
        }
      }
    }
  }
}

// The part of a plane that is the image goes there.
template <class T>
void store_plane(const Sizes& s, const SharesPlan& p, const T* plane, T bias, T* to) {
  const int64_t reached = least(s.w, most(0, p.plane_w - s.pad_w));
  for (int64_t z = 0; z < s.d; ++z) {
    for (int64_t y = 0; y < s.h; ++y, to += s.w) {
      const bool inside = z + s.pad_d < p.plane_d && y + s.pad_h < p.plane_h;
      const T* const line = plane + ((z + s.pad_d) * p.plane_h + y + s.pad_h) * p.plane_w + s.pad_w;
      const int64_t count = inside ? reached : 0;
      for (int64_t x = 0; x < count; ++x) to[x] = line[x] + bias;
      for (int64_t x = count; x < s.w; ++x) to[x] = bias;
    }
  }
}

template <class T>
void run_shares(const Sizes& s, const Images<T>& x, const T* weight, const T* bias, T* out, int64_t task) {
  constexpr int64_t kBehind = 16;  // elements that vectors may reach
  alignas(64) T packed[kWeightBytes / sizeof(T)];
  alignas(64) T shares[kSharesBytes / sizeof(T) + kBehind];
  alignas(64) T planes[kPlanesAtOnce * kMostOfPlane + kBehind];
  const SharesPlan p = shares_plan<T>(s);
  const int64_t part = task % p.parts;
  const int64_t block = task / p.parts % p.blocks;
  const int64_t group = task / p.parts / p.blocks;
  const int64_t first = block * p.channels;
  const int64_t channels = least(p.channels, s.group_c - first);
  const int64_t columns = channels * s.taps;
  const T* const factors = weight + group * s.group_o * s.k + first * s.taps;
  const auto add = s.kw <= 4 && s.step_w == 1 ? add_shares<true, T> : add_shares<false, T>;
  const bool packs_again = blocks_of_k(s.group_o).count > 1;
  const int64_t begin = s.n * part / p.parts;
  const int64_t end = s.n * (part + 1) / p.parts;
  for (int64_t image = begin; image < end; image += p.images) {
    const int64_t images = least(p.images, end - image);
    const T* const from = x.data + image * x.n_stride + group * s.group_o * x.c_stride;
    make_shares<T>(s, p, from, x, images, factors, p.packs && (image == begin || packs_again), columns, packed, shares);
    for (int64_t i = 0; i < images; ++i) {
      for (int64_t c = 0; c < channels; c += kPlanesAtOnce) {
        const int64_t count = least(kPlanesAtOnce, channels - c);
        for (int64_t e = 0; e < count * p.plane + kBehind; ++e) planes[e] = T{0};
        add(s, p, shares + i * s.pixels * p.columns + c * s.taps, count, planes);
        for (int64_t k = 0; k < count; ++k) {
          const int64_t channel = group * s.group_c + first + c + k;
          store_plane<T>(s, p, planes + k * p.plane, bias != nullptr ? bias[channel] : T{0},
                         out + ((image + i) * s.c + channel) * s.image);
        }
      }
    }
  }
}

}  // namespace
}  // namespace gorgo::GORGO_ISA_NS
