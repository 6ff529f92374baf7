/**
 * The provider {@code vulkan}: every Vulkan 1.2 device that has what the shaders need, with shaders
 * compiled to SPIR-V when Weft is built.
 *
 * <p>Exports nothing: users find it through {@link dev.weft.Weft}.
 */
@org.jspecify.annotations.NullMarked
module dev.weft.backend.vulkan {
  requires dev.weft.api;
  requires dev.weft.gpu;
  requires org.lwjgl;
  requires org.lwjgl.vma;
  requires org.lwjgl.vulkan;
  requires static org.jspecify;

  provides dev.weft.spi.KernelProvider with
      dev.weft.backend.vulkan.VulkanProvider;
}
