// Launches that may begin before the one ahead of them in the stream has ended (programmatic dependent launch, from
// compute capability 9.0 on; nothing elsewhere, and nothing in PTX for 8.0, where KernelFunction asks for no overlap).
//
// A kernel that calls neither is safe behind any other. One that is launched to overlap has to wait in every thread
// that reads what earlier launches wrote, or writes what they read, and must not read it by __ldg: the compiler may move
// such loads ahead of the wait. Calling allow_successor only after the wait leaves the next kernel with one grid to wait for.
#pragma once

namespace weft {

// Waits for the grids before this one and sees what they wrote; returns at once in a launch without the attribute.
__device__ __forceinline__ void wait_for_predecessor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next grid start once every block has called this or ended.
__device__ __forceinline__ void allow_successor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace weft
