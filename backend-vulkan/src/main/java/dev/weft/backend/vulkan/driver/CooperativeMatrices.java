package dev.weft.backend.vulkan.driver;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.lwjgl.system.MemoryStack;
import org.lwjgl.vulkan.KHRCooperativeMatrix;
import org.lwjgl.vulkan.KHRShaderBfloat16;
import org.lwjgl.vulkan.VK11;
import org.lwjgl.vulkan.VkCooperativeMatrixPropertiesKHR;
import org.lwjgl.vulkan.VkDeviceCreateInfo;
import org.lwjgl.vulkan.VkPhysicalDevice;
import org.lwjgl.vulkan.VkPhysicalDeviceCooperativeMatrixFeaturesKHR;
import org.lwjgl.vulkan.VkPhysicalDeviceFeatures2;
import org.lwjgl.vulkan.VkPhysicalDeviceShaderBfloat16FeaturesKHR;
import org.lwjgl.vulkan.VkPhysicalDeviceVulkan12Features;

/**
 * The cooperative matrices that kernels are compiled for: 16 x 16 x 16 of a subgroup of 32, F16 and
 * BF16 with F32 sums.
 */
public final class CooperativeMatrices {
  /** The extensions that a device is to be made with. */
  public static final List<String> EXTENSIONS =
      List.of(
          KHRCooperativeMatrix.VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME,
          KHRShaderBfloat16.VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME);

  private static final int SIZE = 16;
  private static final int SUBGROUP = 32;

  private CooperativeMatrices() {}

  /** What a device lacks of them, or nothing. */
  static String missing(VkPhysicalDevice handle, Set<String> extensions, int subgroupSize) {
    for (String extension : EXTENSIONS) {
      if (!extensions.contains(extension)) {
        return "the device lacks " + extension;
      }
    }
    if (subgroupSize != SUBGROUP) {
      return "subgroups of " + subgroupSize + ", there are kernels for " + SUBGROUP;
    }
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrices =
          VkPhysicalDeviceCooperativeMatrixFeaturesKHR.calloc(stack).sType$Default();
      VkPhysicalDeviceShaderBfloat16FeaturesKHR bfloat16 =
          VkPhysicalDeviceShaderBfloat16FeaturesKHR.calloc(stack).sType$Default();
      VkPhysicalDeviceVulkan12Features twelve =
          VkPhysicalDeviceVulkan12Features.calloc(stack).sType$Default();
      VK11.vkGetPhysicalDeviceFeatures2(
          handle,
          VkPhysicalDeviceFeatures2.calloc(stack)
              .sType$Default()
              .pNext(matrices)
              .pNext(bfloat16)
              .pNext(twelve));
      List<String> missing = new ArrayList<>();
      note(missing, "cooperativeMatrix", matrices.cooperativeMatrix());
      note(missing, "shaderBFloat16Type", bfloat16.shaderBFloat16Type());
      note(missing, "shaderBFloat16CooperativeMatrix", bfloat16.shaderBFloat16CooperativeMatrix());
      note(missing, "shaderFloat16", twelve.shaderFloat16());
      note(missing, "vulkanMemoryModel", twelve.vulkanMemoryModel());
      if (!missing.isEmpty()) {
        return "the device lacks " + String.join(", ", missing);
      }
    }
    List<String> shapes = new ArrayList<>();
    if (!has(handle, KHRCooperativeMatrix.VK_COMPONENT_TYPE_FLOAT16_KHR, shapes)) {
      return "no F16 matrices of 16 x 16 x 16 with F32 sums, but " + shapes;
    }
    return has(handle, KHRShaderBfloat16.VK_COMPONENT_TYPE_BFLOAT16_KHR, shapes)
        ? ""
        : "no BF16 matrices of 16 x 16 x 16 with F32 sums, but " + shapes;
  }

  private static void note(List<String> missing, String feature, boolean present) {
    if (!present) {
      missing.add(feature);
    }
  }

  private static boolean has(VkPhysicalDevice handle, int type, List<String> shapes) {
    String call = "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR";
    int[] count = new int[1];
    Result.check(
        call,
        KHRCooperativeMatrix.vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(
            handle, count, null));
    try (VkCooperativeMatrixPropertiesKHR.Buffer all =
        VkCooperativeMatrixPropertiesKHR.calloc(count[0])) {
      all.forEach(VkCooperativeMatrixPropertiesKHR::sType$Default);
      Result.check(
          call,
          KHRCooperativeMatrix.vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(
              handle, count, all));
      boolean found = false;
      for (VkCooperativeMatrixPropertiesKHR one : all) {
        int sums = KHRCooperativeMatrix.VK_COMPONENT_TYPE_FLOAT32_KHR;
        if (one.AType() != type || one.BType() != type || one.ResultType() != sums) {
          continue;
        }
        shapes.add(one.MSize() + " x " + one.NSize() + " x " + one.KSize());
        found |=
            one.MSize() == SIZE
                && one.NSize() == SIZE
                && one.KSize() == SIZE
                && one.CType() == sums
                && !one.saturatingAccumulation()
                && one.scope() == KHRCooperativeMatrix.VK_SCOPE_SUBGROUP_KHR;
      }
      return found;
    }
  }

  /** Turns them on for a device that is being made. */
  public static void enable(
      VkDeviceCreateInfo info, VkPhysicalDeviceVulkan12Features twelve, MemoryStack stack) {
    twelve.shaderFloat16(true).vulkanMemoryModel(true);
    info.ppEnabledExtensionNames(
            stack.pointers(EXTENSIONS.stream().map(stack::UTF8).toArray(ByteBuffer[]::new)))
        .pNext(
            VkPhysicalDeviceCooperativeMatrixFeaturesKHR.calloc(stack)
                .sType$Default()
                .cooperativeMatrix(true))
        .pNext(
            VkPhysicalDeviceShaderBfloat16FeaturesKHR.calloc(stack)
                .sType$Default()
                .shaderBFloat16Type(true)
                .shaderBFloat16CooperativeMatrix(true));
  }
}
