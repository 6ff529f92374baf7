package dev.weft.backend.vulkan.driver;

import static org.lwjgl.system.MemoryUtil.NULL;

import dev.weft.gpu.NotUsableException;
import java.lang.foreign.Arena;
import java.lang.foreign.SymbolLookup;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.lwjgl.PointerBuffer;
import org.lwjgl.system.Configuration;
import org.lwjgl.system.MemoryStack;
import org.lwjgl.vulkan.EXTDebugUtils;
import org.lwjgl.vulkan.VK;
import org.lwjgl.vulkan.VK10;
import org.lwjgl.vulkan.VK12;
import org.lwjgl.vulkan.VkApplicationInfo;
import org.lwjgl.vulkan.VkDebugUtilsMessengerCallbackDataEXT;
import org.lwjgl.vulkan.VkDebugUtilsMessengerCallbackEXT;
import org.lwjgl.vulkan.VkDebugUtilsMessengerCreateInfoEXT;
import org.lwjgl.vulkan.VkInstance;
import org.lwjgl.vulkan.VkInstanceCreateInfo;
import org.lwjgl.vulkan.VkLayerProperties;
import org.lwjgl.vulkan.VkPhysicalDevice;

/** An instance of Vulkan, and its devices. */
public final class Vulkan implements AutoCloseable {
  /** Turns the validation layer on. */
  public static final String VALIDATION_PROPERTY = "weft.vulkan.validation";

  private static final String LIBRARY = "libvulkan.so.1";
  private static final String LAYER = "VK_LAYER_KHRONOS_validation";

  private final DeviceUse use;
  private final VkInstance instance;
  private final ValidationMessages messages;
  private final @Nullable VkDebugUtilsMessengerCallbackEXT callback;
  private final List<DeviceProperties> devices;
  private long messenger;

  private Vulkan(
      DeviceUse use,
      VkInstance instance,
      ValidationMessages messages,
      @Nullable VkDebugUtilsMessengerCallbackEXT callback) {
    this.use = use;
    this.instance = instance;
    this.messages = messages;
    this.callback = callback;
    this.devices = new ArrayList<>();
  }

  /**
   * Loads Vulkan, makes an instance and asks for its devices; with the validation layer where the
   * user asks for it.
   *
   * @throws NotUsableException if there is no loader, no driver, or no device that can be used
   */
  public static Vulkan open() throws NotUsableException {
    return open(LIBRARY, Boolean.getBoolean(VALIDATION_PROPERTY));
  }

  static Vulkan open(String library, boolean validation) throws NotUsableException {
    DeviceUse use;
    try {
      use = DeviceUse.start();
    } catch (IllegalStateException e) {
      throw new NotUsableException("the JVM is shutting down", "open devices before that", e);
    }
    try (var _ = use.begin()) {
      load(library);
      ValidationMessages messages = new ValidationMessages();
      VkDebugUtilsMessengerCallbackEXT callback = validation ? callback(messages) : null;
      VkInstance instance;
      try {
        instance = InstanceThread.OF_PROCESS.make(() -> createInstance(callback));
      } catch (Throwable t) {
        if (callback != null) {
          callback.free();
        }
        throw t;
      }
      Vulkan vulkan = new Vulkan(use, instance, messages, callback);
      use.endsBy(vulkan::destroy);
      vulkan.listen();
      vulkan.findUsableDevices();
      if (vulkan.devices.stream().anyMatch(DeviceProperties::isNvidia)) {
        InstanceThread.OF_PROCESS.keep(() -> createInstance(null));
      }
      return vulkan;
    } catch (Throwable t) {
      use.end();
      throw t;
    }
  }

  private void findUsableDevices() throws NotUsableException {
    List<String> refused = new ArrayList<>();
    findDevices(refused);
    if (devices.isEmpty()) {
      throw new NotUsableException(
          refused.isEmpty()
              ? "no Vulkan driver has a device"
              : "no Vulkan device can be used: " + String.join("; ", refused),
          "check what vulkaninfo says, that the process may open /dev/dri/* or /dev/nvidia*, or"
              + " install a driver for the CPU (Debian: apt-get install mesa-vulkan-drivers)",
          null);
    }
  }

  @SuppressWarnings("restricted") // loading Vulkan is what this is for
  private static void load(String library) throws NotUsableException {
    try {
      // First the loader alone: a failed static initialiser of LWJGL could not be tried again.
      SymbolLookup.libraryLookup(library, Arena.global());
    } catch (IllegalArgumentException e) {
      throw new NotUsableException(
          "the Vulkan loader " + library + " was not found",
          "install it (Debian: apt-get install libvulkan1) and a driver for the device"
              + " (mesa-vulkan-drivers; for the CPU too), or put the folder of "
              + library
              + " on the library path (LD_LIBRARY_PATH)",
          null);
    } catch (IllegalCallerException e) {
      throw new NotUsableException(
          "native access is not allowed to Weft's Vulkan backend",
          "start java with --enable-native-access=ALL-UNNAMED (class path), or"
              + " dev.weft.backend.vulkan,org.lwjgl,org.lwjgl.vma (module path)",
          e);
    }
    try {
      if (Configuration.MEMORY_BACKEND.get() == null) {
        Configuration.MEMORY_BACKEND.set("ffm"); // the default is Unsafe, of which the JVM warns
      }
      int version = VK.getInstanceVersionSupported();
      if (version < VK12.VK_API_VERSION_1_2) {
        throw new NotUsableException(
            "the Vulkan loader has version "
                + DeviceProperties.version(version)
                + ", and 1.2 is needed",
            "install a current one (Debian: apt-get install libvulkan1)",
            null);
      }
    } catch (LinkageError | IllegalStateException e) {
      throw new NotUsableException(
          "LWJGL could not load Vulkan: " + firstLine(e),
          "use Linux on x86-64 with lwjgl's and lwjgl-vma's natives on the class path, and a"
              + " temporary folder that may hold executable files",
          e);
    }
  }

  private static String firstLine(Throwable e) {
    return String.valueOf(e.getMessage()).lines().findFirst().orElse("");
  }

  private static VkDebugUtilsMessengerCallbackEXT callback(ValidationMessages messages) {
    return VkDebugUtilsMessengerCallbackEXT.create((severity, types, data, user) -> {
      var complaint = VkDebugUtilsMessengerCallbackDataEXT.create(data);
      messages.add(String.valueOf(complaint.pMessageString()));
      return VK10.VK_FALSE;
    });
  }

  private static VkInstance createInstance(@Nullable VkDebugUtilsMessengerCallbackEXT callback)
      throws NotUsableException {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkApplicationInfo application =
          VkApplicationInfo.calloc(stack)
              .sType$Default()
              .pApplicationName(stack.UTF8("Weft"))
              .pEngineName(stack.UTF8("Weft"))
              .apiVersion(VK12.VK_API_VERSION_1_2);
      VkInstanceCreateInfo info =
          VkInstanceCreateInfo.calloc(stack).sType$Default().pApplicationInfo(application);
      if (callback != null) {
        if (!hasLayer(stack)) {
          throw new NotUsableException(
              "the validation layer " + LAYER + " was asked for and is not installed",
              "install it (Debian: apt-get install vulkan-validationlayers), or leave "
                  + VALIDATION_PROPERTY
                  + " away",
              null);
        }
        info.ppEnabledLayerNames(stack.pointers(stack.UTF8(LAYER)))
            .ppEnabledExtensionNames(
                stack.pointers(stack.UTF8(EXTDebugUtils.VK_EXT_DEBUG_UTILS_EXTENSION_NAME)))
            // Heard while the instance itself is made and destroyed.
            .pNext(messengerInfo(stack, callback).address());
      }
      PointerBuffer handle = stack.mallocPointer(1);
      int code = VK10.vkCreateInstance(info, null, handle);
      if (code != Result.SUCCESS) {
        throw new NotUsableException(
            "vkCreateInstance failed with " + Result.name(code) + " (" + code + ")",
            "install a driver (for the CPU, Debian: apt-get install mesa-vulkan-drivers), and check"
                + " what vulkaninfo says",
            null);
      }
      return new VkInstance(handle.get(0), info);
    }
  }

  private static boolean hasLayer(MemoryStack stack) {
    IntBuffer count = stack.mallocInt(1);
    Result.check(
        "vkEnumerateInstanceLayerProperties", VK10.vkEnumerateInstanceLayerProperties(count, null));
    try (VkLayerProperties.Buffer layers = VkLayerProperties.malloc(count.get(0))) {
      Result.check(
          "vkEnumerateInstanceLayerProperties",
          VK10.vkEnumerateInstanceLayerProperties(count, layers));
      return layers.stream().anyMatch(layer -> layer.layerNameString().equals(LAYER));
    }
  }

  private static VkDebugUtilsMessengerCreateInfoEXT messengerInfo(
      MemoryStack stack, VkDebugUtilsMessengerCallbackEXT callback) {
    return VkDebugUtilsMessengerCreateInfoEXT.calloc(stack)
        .sType$Default()
        .messageSeverity(
            EXTDebugUtils.VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT
                | EXTDebugUtils.VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT)
        // Not the general ones, which are the loader's about drivers that are not asked for.
        .messageType(EXTDebugUtils.VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT)
        .pfnUserCallback(callback);
  }

  private void listen() {
    if (callback == null) {
      return;
    }
    try (MemoryStack stack = MemoryStack.stackPush()) {
      LongBuffer handle = stack.mallocLong(1);
      Result.check(
          "vkCreateDebugUtilsMessengerEXT",
          EXTDebugUtils.vkCreateDebugUtilsMessengerEXT(
              instance, messengerInfo(stack, callback), null, handle));
      messenger = handle.get(0);
    }
  }

  private void findDevices(List<String> refused) {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      IntBuffer count = stack.mallocInt(1);
      Result.check(
          "vkEnumeratePhysicalDevices", VK10.vkEnumeratePhysicalDevices(instance, count, null));
      if (count.get(0) == 0) {
        return;
      }
      PointerBuffer handles = stack.mallocPointer(count.get(0));
      Result.check(
          "vkEnumeratePhysicalDevices", VK10.vkEnumeratePhysicalDevices(instance, count, handles));
      for (int i = 0; i < count.get(0); i++) {
        DeviceProperties properties =
            DeviceProperties.of(new VkPhysicalDevice(handles.get(i), instance));
        String why = properties.whyNotUsable();
        if (why.isEmpty()) {
          devices.add(properties);
        } else {
          refused.add(properties.name() + ": " + why);
        }
      }
    }
    devices.sort(Comparator.comparing(DeviceProperties::kind)); // stable
  }

  /** The devices that can be used: GPUs, then others, then CPUs, each in the loader's order. */
  public List<DeviceProperties> devices() {
    return List.copyOf(devices);
  }

  /** The instance. */
  public VkInstance instance() {
    return instance;
  }

  /** What the validation layer says, if there is one. */
  public ValidationMessages messages() {
    return messages;
  }

  /** Who is at work with the instance and its device. */
  public DeviceUse use() {
    return use;
  }

  /** Destroys the instance, and its device first if there is one. */
  @Override
  public void close() {
    use.end();
  }

  private boolean destroy() {
    if (messenger != NULL) {
      EXTDebugUtils.vkDestroyDebugUtilsMessengerEXT(instance, messenger, null);
      messenger = NULL;
    }
    InstanceThread.OF_PROCESS.destroy(instance);
    if (callback != null) {
      callback.free();
    }
    return true;
  }
}
