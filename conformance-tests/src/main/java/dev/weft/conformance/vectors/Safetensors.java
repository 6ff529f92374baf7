package dev.weft.conformance.vectors;

import dev.weft.HostTensor;
import dev.weft.conformance.WholeFile;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The content of a safetensors file: named tensors and string attributes. The tensors' memory is
 * shared, so only the one who made them may write to them.
 *
 * <p>The format is that of <a
 * href="https://github.com/huggingface/safetensors">huggingface/safetensors</a>: an unsigned 64-bit
 * header length, a JSON header, then the tensors' bytes, all little-endian. Reading is strict:
 * whatever breaks the format's rules is a {@link VectorFormatException}. Of its data types the five
 * of {@link dev.weft.DataType} are known.
 */
public final class Safetensors {
  private final Map<String, String> metadata;
  private final Map<String, HostTensor> tensors;

  private Safetensors(Map<String, String> metadata, Map<String, HostTensor> tensors) {
    this.metadata = Collections.unmodifiableMap(new LinkedHashMap<>(metadata));
    this.tensors = Collections.unmodifiableMap(new LinkedHashMap<>(tensors));
  }

  /**
   * Puts tensors together, to be written.
   *
   * @param metadata string attributes
   * @param tensors tensors by name; {@code __metadata__} is no name for a tensor
   * @return the content; the tensors are not copied
   */
  public static Safetensors of(Map<String, String> metadata, Map<String, HostTensor> tensors) {
    if (tensors.containsKey(SafetensorsHeader.METADATA)) {
      throw new IllegalArgumentException(
          "tensors: " + SafetensorsHeader.METADATA + " is the name of the attributes");
    }
    return new Safetensors(metadata, tensors);
  }

  /**
   * Reads a file. It is mapped into memory, so nobody may truncate it while its tensors are in use.
   *
   * @param file a regular file
   * @return its content; the tensors cannot be written to
   * @throws VectorFormatException if the file is missing, cannot be read or breaks the format
   */
  public static Safetensors read(Path file) {
    String name = file.toString();
    if (!Files.exists(file)) {
      throw new VectorFormatException(
          name, "expected a safetensors file, but there is no such file");
    }
    if (!Files.isRegularFile(file)) {
      throw new VectorFormatException(
          name,
          "expected a regular file, but it is "
              + (Files.isDirectory(file) ? "a directory" : "something else"));
    }
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
      return parse(
          name, channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), Arena.ofAuto()));
    } catch (IOException e) {
      throw new VectorFormatException(
          name, "expected a file that can be read: " + WholeFile.reason(e, file), e);
    }
  }

  /**
   * Reads content that is in memory.
   *
   * @param name what errors call it
   * @param bytes the whole file; tensors are views of it
   * @return the content
   * @throws VectorFormatException if it breaks the format
   */
  public static Safetensors parse(String name, MemorySegment bytes) {
    SafetensorsHeader header = SafetensorsHeader.parse(name, bytes);
    Map<String, HostTensor> tensors = new LinkedHashMap<>();
    for (SafetensorsHeader.Entry entry : header.entries()) {
      MemorySegment segment =
          bytes.asSlice(header.dataStart() + entry.begin(), entry.end() - entry.begin());
      tensors.put(entry.name(), HostTensor.of(entry.dataType(), segment, entry.shape()));
    }
    return new Safetensors(header.metadata(), tensors);
  }

  /**
   * Returns the attributes.
   *
   * @return the strings of {@code __metadata__}, unmodifiable; empty if there are none
   */
  public Map<String, String> metadata() {
    return metadata;
  }

  /**
   * Returns the tensors.
   *
   * @return tensors by name in the order of the header, unmodifiable
   */
  public Map<String, HostTensor> tensors() {
    return tensors;
  }

  /**
   * Writes a file whole: into a temporary file beside it, which takes its name once everything has
   * reached the disk. A failure leaves what was there before, and nothing else.
   *
   * @param file the file to write or replace, in a directory that exists
   * @throws IOException naming the file and the reason, such as a full disk
   */
  public void write(Path file) throws IOException {
    WholeFile.write(file, this::writeTo);
  }

  private void writeTo(FileChannel channel) throws IOException {
    byte[] header = SafetensorsHeader.json(metadata, tensors);
    ByteBuffer start = ByteBuffer.allocate(8 + header.length).order(ByteOrder.LITTLE_ENDIAN);
    writeFully(channel, start.putLong(header.length).put(header).flip());
    for (HostTensor tensor : SafetensorsHeader.inFileOrder(tensors).values()) {
      MemorySegment segment = tensor.segment();
      // A ByteBuffer holds at most 2 GiB.
      for (long at = 0; at < segment.byteSize(); at += CHUNK) {
        long length = Math.min(CHUNK, segment.byteSize() - at);
        writeFully(channel, bytes(segment.asSlice(at, length)));
      }
    }
  }

  private static final long CHUNK = 1 << 20;

  private static ByteBuffer bytes(MemorySegment segment) {
    // Only a segment over bytes has a buffer; those over longs are copied.
    return segment.isNative()
        ? segment.asByteBuffer()
        : ByteBuffer.wrap(segment.toArray(ValueLayout.JAVA_BYTE));
  }

  private static void writeFully(FileChannel channel, ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      channel.write(bytes);
    }
  }
}
