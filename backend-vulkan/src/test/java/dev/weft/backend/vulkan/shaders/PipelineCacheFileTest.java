package dev.weft.backend.vulkan.shaders;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PipelineCacheFileTest {
  private static final String UUID = "00112233445566778899aabbccddeeff";

  @TempDir Path folder;

  private PipelineCacheFile file(int vendor, int device, String uuid) {
    return PipelineCacheFile.in(folder, vendor, device, uuid);
  }

  private static byte[] data(int vendor, int device, String uuid) {
    return ByteBuffer.allocate(100)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putInt(32)
        .putInt(1)
        .putInt(vendor)
        .putInt(device)
        .put(HexFormat.of().parseHex(uuid))
        .array();
  }

  @Test
  void whatWasStoredIsReadByTheSameDeviceAndDriver() {
    byte[] data = data(1, 2, UUID);
    file(1, 2, UUID).write(data);
    assertArrayEquals(data, file(1, 2, UUID).read());
    assertEquals(0, file(1, 3, UUID).read().length);
    assertEquals(0, file(1, 2, UUID.replace('0', '1')).read().length);
  }

  @Test
  void dataOfAnotherDriverIsNotGivenToThisOne() {
    file(1, 2, UUID).write(data(1, 2, UUID.replace('0', '1')));
    assertEquals(0, file(1, 2, UUID).read().length);
    file(1, 2, UUID).write(new byte[100]);
    assertEquals(0, file(1, 2, UUID).read().length);
  }

  @Test
  void whatIsNotWholeIsAsIfItWereNotThere() throws IOException {
    file(1, 2, UUID).write(data(1, 2, UUID));
    Path stored;
    try (Stream<Path> files = Files.list(folder)) {
      stored = files.findFirst().orElseThrow();
    }
    byte[] sound = Files.readAllBytes(stored);
    sound[sound.length - 1] ^= 1;
    Files.write(stored, sound);
    assertEquals(0, file(1, 2, UUID).read().length);
    Files.write(stored, new byte[3]);
    assertEquals(0, file(1, 2, UUID).read().length);
  }

  @Test
  void aFolderThatCannotBeMadeCostsNothingElse() throws IOException {
    Path notAFolder = Files.createFile(folder.resolve("file"));
    PipelineCacheFile file = PipelineCacheFile.in(notAFolder, 1, 2, UUID);
    assertEquals(0, file.read().length);
    file.write(data(1, 2, UUID));
  }
}
