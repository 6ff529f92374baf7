/**
 * Host code that is the same for the GPU backends: plans, the pool of device memory, and the
 * recipes by which the portable backends run the operations.
 *
 * <p>Exported to the GPU backends only; nothing here is an interface for users.
 */
@org.jspecify.annotations.NullMarked
module dev.weft.gpu {
  requires transitive dev.weft.api;
  requires static org.jspecify;

  exports dev.weft.gpu to
      dev.weft.backend.cuda,
      dev.weft.backend.opencl,
      dev.weft.backend.vulkan;
  exports dev.weft.gpu.conv1d to
      dev.weft.backend.cuda,
      dev.weft.backend.opencl,
      dev.weft.backend.vulkan;
  exports dev.weft.gpu.moba to
      dev.weft.backend.cuda,
      dev.weft.backend.opencl,
      dev.weft.backend.vulkan;
  exports dev.weft.gpu.moe to
      dev.weft.backend.cuda,
      dev.weft.backend.opencl,
      dev.weft.backend.vulkan;
}
