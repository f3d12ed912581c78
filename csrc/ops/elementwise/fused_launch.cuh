// From a call of `fused` to a launch of its kernel: operands folded to few axes, the machine's instructions, chunks and blocks.
// Read next: fused_interpreter.cuh.
#pragma once

#include "ops/elementwise/fused_interpreter.cuh"

namespace gorgo::cuda {

constexpr int kFusedOperands = kFusedOutputs + kFusedInputs;

// Folds the outputs and the inputs in memory, of which input_operand has the numbers, for chunks of `elements`. Inputs stand behind
// kFusedOutputs places.
inline Walk<kFusedOperands> fold_fused(const KernelArgs& args, const int8_t* input_operand, int inputs, int elements,
                                       const KOperand* (&operands)[kFusedOperands],
                                       Place (&places)[kFusedOperands]) noexcept {
  static const KOperand none = [] {
    KOperand number;
    number.host = true;
    number.numel = 1;
    number.scalar = true;
    number.dtype = DType::Float32;
    return number;
  }();
  for (int o = 0; o < kFusedOutputs; ++o) operands[o] = o < args.out_count ? &args.out[o] : &none;
  for (int i = 0; i < kFusedInputs; ++i) {
    operands[kFusedOutputs + i] = i < inputs ? &args.in[input_operand[i]] : &none;
  }
  return fold_operands(operands, places, elements);
}

// Fills in a launch for chunks of `elements`. False when there is nothing to do.
template <class C>
bool prepare_fused(const KernelArgs& args, const FusedMachine& machine, int elements, FusedLaunch<C>& launch) noexcept {
  if (args.out[0].numel == 0) return false;
  const KOperand* operands[kFusedOperands];
  Place places[kFusedOperands];
  const Walk<kFusedOperands> walk = fold_fused(args, machine.input_operand, machine.inputs, elements, operands, places);
  const int last = walk.rank - 1;
  const auto place_of = [&](int o) {
    FusedPlace p;
    p.data = places[o].data;
    p.step = places[o].step;
    p.chunk_step = places[o].granule_step;
    p.access = places[o].access;
    p.type = fused_type(operands[o]->dtype);
    for (int i = 0; i < last; ++i) p.strides[i] = walk.strides[o][i];
    return p;
  };
  launch.row_elements = walk.shape[last];
  launch.outer_axes = last;
  const int64_t row_chunks = ceil_div(walk.shape[last], elements);
  int64_t chunks = row_chunks;
  for (int i = 0; i < last; ++i) {
    chunks *= walk.shape[i];
    launch.by[i] = Divider(static_cast<uint32_t>(walk.shape[i]));
  }
  launch.row = Divider(static_cast<uint32_t>(row_chunks));
  launch.chunks = static_cast<uint32_t>(chunks);
  launch.inputs = machine.inputs;
  launch.outputs = args.out_count;
  for (int o = 0; o < args.out_count; ++o) launch.out[o] = place_of(o);
  for (int i = 0; i < machine.inputs; ++i) launch.in[i] = place_of(kFusedOutputs + i);
  for (int i = 0; i < machine.numbers; ++i) launch.numbers[i] = host_element<C>(args.in[machine.number_operand[i]]);
  launch.count = machine.count;
  return true;
}

template <class C, int kElements, int kChunks, bool kHalves>
void launch_fused(const KernelArgs& args, const FusedMachine& machine, int threads) noexcept {
  FusedLaunch<C> launch;
  if (!prepare_fused(args, machine, kElements, launch)) return;
  constexpr int kLines = kElements * static_cast<int>(sizeof(C)) / 16;
  const auto kernel = fused_kernel<C, kElements, kChunks, kHalves>;
  const int slot_bytes = kChunks * kLines * 16;
  const int slots = machine.slots + machine.scratch;
  while (threads > 32 && slots * slot_bytes * threads > card().shared_bytes) threads /= 2;
  // Few chunks are spread over many blocks.
  while (threads > 32 && ceil_div(launch.chunks, int64_t{threads} * kChunks) < card().multiprocessors) threads /= 2;
  const auto slot = static_cast<uint32_t>(slot_bytes * threads);
  for (int i = 0; i < machine.count; ++i) {
    FusedCode& code = launch.code[i];
    code = machine.code[i];
    if ((code.how & FusedCode::kNumber) == 0) code.a *= slot;
    if ((code.how & FusedCode::kNumber << FusedCode::kB) == 0) code.b *= slot;
    if ((code.how & FusedCode::kNumber << FusedCode::kC) == 0) code.c *= slot;
    code.to *= slot;
  }
  launch.scratch_bytes = static_cast<uint32_t>(machine.slots) * slot;
  const int bytes = static_cast<int>(slot) * slots;
  allow_shared(kernel, bytes);
  const int64_t blocks = ceil_div(launch.chunks, int64_t{threads} * kChunks);
  kernel<<<static_cast<unsigned>(blocks), threads, bytes, stream_of(args)>>>(launch);
}

}  // namespace gorgo::cuda
