package dev.weft.backend.vulkan.shaders;

import dev.weft.backend.vulkan.driver.DeviceProperties;
import dev.weft.gpu.CacheFolder;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;

/**
 * A device's pipeline cache on disk. Processes may share it: it is written to a file of its own and
 * then renamed; the last one wins. Drivers are known to trust such data, so it bears a checksum,
 * and its header must name this device and driver before a driver sees it. Nothing that goes wrong
 * here stops a pipeline from being made: it is said once, and that is all.
 */
public final class PipelineCacheFile {
  static final long MOST_BYTES = 256L << 20;

  private static final System.Logger LOG = System.getLogger(PipelineCacheFile.class.getName());
  private static final byte[] MAGIC = "WEFTVK01".getBytes(StandardCharsets.US_ASCII);
  private static final int HASH_BYTES = 32;

  /** Of VkPipelineCacheHeaderVersionOne. */
  private static final int HEADER_BYTES = 32;

  private final @Nullable Path folder;
  private final String name;
  private final int vendorId;
  private final int deviceId;
  private final byte[] uuid;
  private final AtomicBoolean complained = new AtomicBoolean();
  private int writtenBytes;

  private PipelineCacheFile(@Nullable Path folder, int vendorId, int deviceId, String cacheUuid) {
    this.vendorId = vendorId;
    this.deviceId = deviceId;
    uuid = HexFormat.of().parseHex(cacheUuid);
    this.folder = folder;
    name =
        HexFormat.of().toHexDigits(vendorId)
            + "-"
            + HexFormat.of().toHexDigits(deviceId)
            + "-"
            + cacheUuid
            + ".vkcache";
  }

  /** A device's file in a folder, which is made when something is stored. */
  static PipelineCacheFile in(Path folder, int vendorId, int deviceId, String cacheUuid) {
    return new PipelineCacheFile(folder, vendorId, deviceId, cacheUuid);
  }

  /** A device's file where the user's settings say. */
  public static PipelineCacheFile ofUser(DeviceProperties device) {
    return new PipelineCacheFile(
        CacheFolder.ofUser("vulkan"), device.vendorId(), device.deviceId(), device.cacheUuid());
  }

  /** What was stored, if it is sound and of this device and driver; else nothing. */
  synchronized byte[] read() {
    if (folder == null) {
      return new byte[0];
    }
    Path file = folder.resolve(name);
    byte[] entry;
    try {
      if (Files.size(file) > MOST_BYTES) {
        return new byte[0];
      }
      entry = Files.readAllBytes(file);
    } catch (NoSuchFileException e) {
      return new byte[0];
    } catch (IOException e) {
      complain("cannot be read", e);
      return new byte[0];
    }
    int head = MAGIC.length + HASH_BYTES;
    if (entry.length < head
        || !Arrays.equals(entry, 0, MAGIC.length, MAGIC, 0, MAGIC.length)
        || !MessageDigest.isEqual(
            sha256(entry, head), Arrays.copyOfRange(entry, MAGIC.length, head))) {
      return new byte[0];
    }
    byte[] data = Arrays.copyOfRange(entry, head, entry.length);
    if (!isOfThisDevice(data)) {
      return new byte[0];
    }
    writtenBytes = data.length;
    return data;
  }

  private boolean isOfThisDevice(byte[] data) {
    if (data.length < HEADER_BYTES) {
      return false;
    }
    ByteBuffer header = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN);
    int bytes = header.getInt();
    int version = header.getInt();
    int vendor = header.getInt();
    int device = header.getInt();
    return bytes >= HEADER_BYTES
        && bytes <= data.length
        && version == 1
        && vendor == vendorId
        && device == deviceId
        && Arrays.equals(data, 16, HEADER_BYTES, uuid, 0, uuid.length);
  }

  /** Stores what a driver gave, unless it has not grown. */
  synchronized void write(byte[] data) {
    if (folder == null || data.length <= Math.max(writtenBytes, HEADER_BYTES)) {
      return;
    }
    byte[] entry =
        ByteBuffer.allocate(MAGIC.length + HASH_BYTES + data.length)
            .put(MAGIC)
            .put(sha256(data, 0))
            .put(data)
            .array();
    try {
      CacheFolder.write(folder, name, entry);
      writtenBytes = data.length;
    } catch (IOException | UnsupportedOperationException e) {
      complain("cannot be written", e);
    }
  }

  private void complain(String what, Exception e) {
    if (complained.compareAndSet(false, true)) {
      LOG.log(
          System.Logger.Level.WARNING,
          "the cache of Vulkan pipelines {0} {1} ({2}); they are made anew each time",
          folder,
          what,
          e.toString());
    }
  }

  private static byte[] sha256(byte[] bytes, int from) {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      digest.update(bytes, from, bytes.length - from);
      return digest.digest();
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError(e); // every JVM has it
    }
  }
}
