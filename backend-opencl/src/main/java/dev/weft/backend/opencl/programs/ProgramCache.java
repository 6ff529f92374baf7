package dev.weft.backend.opencl.programs;

import dev.weft.gpu.CacheFolder;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Built programs on disk, which processes may share: an entry is written to a file of its own and
 * then renamed. An entry bears its key and a checksum; what does not fit is as if it were not
 * there. Nothing that goes wrong here stops a program from being built: it is said once, and that
 * is all.
 */
public final class ProgramCache {
  private static final String ID = "opencl";
  static final long MOST_BYTES = 512L << 20;

  private static final System.Logger LOG = System.getLogger(ProgramCache.class.getName());
  private static final byte[] MAGIC = "WEFTCL01".getBytes(StandardCharsets.US_ASCII);
  private static final int HASH_BYTES = 32;
  private static final int HEADER_BYTES = MAGIC.length + HASH_BYTES + Long.BYTES + HASH_BYTES;
  private static final String SUFFIX = ".clbin";

  private final @Nullable Path folder;
  private final long mostBytes;
  private final AtomicBoolean complained = new AtomicBoolean();

  /**
   * A cache in a folder, which is made when the first entry is stored.
   *
   * @param folder where; null for no cache
   * @param mostBytes of all entries; the longest unused go first
   */
  ProgramCache(@Nullable Path folder, long mostBytes) {
    this.folder = folder;
    this.mostBytes = mostBytes;
  }

  /** A cache in a folder, of the usual size. */
  public static ProgramCache in(Path folder) {
    return new ProgramCache(folder, MOST_BYTES);
  }

  /**
   * The cache that the user's settings name, or the usual one.
   *
   * @param onlyIfNamed whether to have none unless the settings name one
   */
  public static ProgramCache ofUser(boolean onlyIfNamed) {
    boolean none = onlyIfNamed && !CacheFolder.isNamed(ID);
    return new ProgramCache(none ? null : CacheFolder.ofUser(ID), MOST_BYTES);
  }

  /** Where entries lie, if anywhere. */
  Optional<Path> folder() {
    return Optional.ofNullable(folder);
  }

  /** What an entry is found by: a hash over all texts, each with its length. */
  static String key(List<String> texts) {
    MessageDigest digest = sha256();
    digest.update(MAGIC);
    for (String text : texts) {
      byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
      digest.update(ByteBuffer.allocate(Long.BYTES).putLong(bytes.length).array());
      digest.update(bytes);
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  /** A program, if there is a sound entry for it. */
  public Optional<byte[]> find(String key) {
    if (folder == null) {
      return Optional.empty();
    }
    Path file = file(folder, key);
    byte[] entry;
    try {
      if (Files.size(file) > mostBytes) {
        return Optional.empty();
      }
      entry = Files.readAllBytes(file);
    } catch (NoSuchFileException e) {
      return Optional.empty();
    } catch (IOException e) {
      complain("cannot be read", file, e);
      return Optional.empty();
    }
    Optional<byte[]> program = unpacked(key, entry);
    if (program.isPresent()) {
      try {
        Files.setLastModifiedTime(file, FileTime.from(Instant.now())); // it was used
      } catch (IOException e) {
        // A folder that is only read keeps the order in which others wrote it.
      }
    }
    return program;
  }

  /** Keeps a program. */
  public void store(String key, byte[] program) {
    if (folder == null || program.length > mostBytes) {
      return;
    }
    try {
      CacheFolder.write(folder, key + SUFFIX, packed(key, program));
      shrink(folder);
    } catch (IOException | UnsupportedOperationException e) {
      complain("cannot be written", folder, e);
    }
  }

  /** Takes an entry away that the driver refused. */
  void forget(String key) {
    if (folder != null) {
      try {
        Files.deleteIfExists(file(folder, key));
      } catch (IOException e) {
        complain("cannot be written", folder, e);
      }
    }
  }

  private static Path file(Path folder, String key) {
    return folder.resolve(key + SUFFIX);
  }

  private static byte[] packed(String key, byte[] program) {
    return ByteBuffer.allocate(HEADER_BYTES + program.length)
        .put(MAGIC)
        .put(HexFormat.of().parseHex(key))
        .putLong(program.length)
        .put(sha256().digest(program))
        .put(program)
        .array();
  }

  private static Optional<byte[]> unpacked(String key, byte[] entry) {
    if (entry.length < HEADER_BYTES) {
      return Optional.empty();
    }
    ByteBuffer buffer = ByteBuffer.wrap(entry);
    byte[] magic = new byte[MAGIC.length];
    byte[] itsKey = new byte[HASH_BYTES];
    byte[] hash = new byte[HASH_BYTES];
    buffer.get(magic).get(itsKey);
    long bytes = buffer.getLong();
    buffer.get(hash);
    if (!Arrays.equals(magic, MAGIC)
        || !Arrays.equals(itsKey, HexFormat.of().parseHex(key))
        || bytes != buffer.remaining()) {
      return Optional.empty();
    }
    byte[] program = new byte[buffer.remaining()];
    buffer.get(program);
    return MessageDigest.isEqual(sha256().digest(program), hash)
        ? Optional.of(program)
        : Optional.empty();
  }

  private record Entry(Path file, long bytes, FileTime used) {}

  /** Deletes the longest unused until the rest fits, and what a process left behind unfinished. */
  private void shrink(Path folder) throws IOException {
    List<Entry> entries = new ArrayList<>();
    Instant stale = Instant.now().minusSeconds(3600);
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file : files.toList()) {
        try {
          String name = file.getFileName().toString();
          FileTime time = Files.getLastModifiedTime(file);
          if (name.endsWith(SUFFIX)) {
            entries.add(new Entry(file, Files.size(file), time));
          } else if (name.endsWith(".tmp") && time.toInstant().isBefore(stale)) {
            Files.deleteIfExists(file);
          }
        } catch (NoSuchFileException e) {
          // another process was faster
        }
      }
    }
    long total = entries.stream().mapToLong(Entry::bytes).sum();
    entries.sort(Comparator.comparing(Entry::used));
    for (Entry entry : entries) {
      if (total <= mostBytes) {
        return;
      }
      Files.deleteIfExists(entry.file);
      total -= entry.bytes;
    }
  }

  private void complain(String what, Path where, Exception e) {
    if (complained.compareAndSet(false, true)) {
      LOG.log(
          System.Logger.Level.WARNING,
          "the cache of OpenCL programs {0} {1} ({2}); programs are built anew each time",
          where,
          what,
          e.toString());
    }
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError(e); // every JVM has it
    }
  }
}
