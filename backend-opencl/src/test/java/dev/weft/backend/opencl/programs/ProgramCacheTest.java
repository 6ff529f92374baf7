package dev.weft.backend.opencl.programs;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.backend.opencl.ChildProcess;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileTime;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ProgramCacheTest {
  private static final String KEY = ProgramCache.key(List.of("source", "options"));
  private static final byte[] PROGRAM = {1, 2, 3, 4, 5};

  @TempDir Path folder;

  @Test
  void findsWhatWasStoredAndNothingElse() {
    ProgramCache cache = ProgramCache.in(folder.resolve("a/b"));
    assertTrue(cache.find(KEY).isEmpty());
    cache.store(KEY, PROGRAM);
    assertArrayEquals(PROGRAM, found(ProgramCache.in(folder.resolve("a/b"))));
    assertTrue(cache.find(ProgramCache.key(List.of("other"))).isEmpty());
    cache.forget(KEY);
    assertTrue(cache.find(KEY).isEmpty());
  }

  @Test
  void whereTheTextsAreCutChangesTheKey() {
    assertNotEquals(ProgramCache.key(List.of("ab", "c")), ProgramCache.key(List.of("a", "bc")));
    assertNotEquals(ProgramCache.key(List.of("a")), ProgramCache.key(List.of("a", "")));
  }

  @Test
  void noDamagedByteIsTrusted() throws IOException {
    ProgramCache cache = ProgramCache.in(folder);
    cache.store(KEY, PROGRAM);
    Path file = entry();
    byte[] sound = Files.readAllBytes(file);
    for (int at = 0; at < sound.length; at++) {
      byte[] damaged = sound.clone();
      damaged[at] ^= 1;
      Files.write(file, damaged);
      assertTrue(cache.find(KEY).isEmpty(), "byte " + at);
    }
    Files.write(file, sound);
    assertArrayEquals(PROGRAM, found(cache));
  }

  @Test
  void noTruncatedOrForeignEntryIsTrusted() throws IOException {
    ProgramCache cache = ProgramCache.in(folder);
    cache.store(KEY, PROGRAM);
    Path file = entry();
    byte[] sound = Files.readAllBytes(file);
    for (int length = 0; length < sound.length; length++) {
      Files.write(file, java.util.Arrays.copyOf(sound, length));
      assertTrue(cache.find(KEY).isEmpty(), "length " + length);
    }
    Files.write(file, java.util.Arrays.copyOf(sound, sound.length + 1));
    assertTrue(cache.find(KEY).isEmpty(), "one byte too many");

    // Sound by itself, but of another program.
    Files.delete(file);
    cache.store(ProgramCache.key(List.of("other")), PROGRAM);
    Files.move(entry(), file, StandardCopyOption.REPLACE_EXISTING);
    assertTrue(cache.find(KEY).isEmpty(), "another program's entry");

    cache.store(KEY, PROGRAM);
    assertArrayEquals(PROGRAM, found(cache), "what was not trusted is replaced");
  }

  @Test
  void manyMayUseTheFolderAtOnce() throws Exception {
    byte[] big = new byte[1 << 20];
    java.util.Arrays.fill(big, (byte) 7);
    List<Future<Boolean>> results = new ArrayList<>();
    try (ExecutorService pool = Executors.newFixedThreadPool(4)) {
      for (int i = 0; i < 4; i++) {
        ProgramCache cache = ProgramCache.in(folder); // as another process would have
        results.add(
            pool.submit(() -> {
              boolean sound = true;
              for (int n = 0; n < 30; n++) {
                cache.store(KEY, big);
                Optional<byte[]> program = cache.find(KEY);
                sound &= program.isPresent() && java.util.Arrays.equals(big, program.get());
              }
              return sound;
            }));
      }
    }
    for (Future<Boolean> result : results) {
      assertTrue(result.get());
    }
    try (Stream<Path> files = Files.list(folder)) {
      assertEquals(1, files.count(), "nothing unfinished is left");
    }
  }

  @Test
  void theLongestUnusedGoFirst() throws IOException {
    ProgramCache cache = new ProgramCache(folder, 3000);
    List<String> keys = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      keys.add(ProgramCache.key(List.of("program " + i)));
    }
    cache.store(keys.get(0), new byte[1000]);
    age(1000);
    cache.store(keys.get(1), new byte[1000]);
    age(1000);
    assertTrue(cache.find(keys.get(0)).isPresent()); // used just now
    cache.store(keys.get(2), new byte[1000]);
    assertTrue(cache.find(keys.get(0)).isPresent());
    assertFalse(cache.find(keys.get(1)).isPresent());
    assertTrue(cache.find(keys.get(2)).isPresent());
    cache.store(KEY, new byte[5000]);
    assertFalse(cache.find(KEY).isPresent(), "more than all may have");
  }

  @Test
  void whatAnotherProcessLeftUnfinishedIsRemovedAfterAnHour() throws IOException {
    Path left = Files.createFile(folder.resolve("abc.tmp"));
    ProgramCache cache = ProgramCache.in(folder);
    cache.store(KEY, PROGRAM);
    assertTrue(Files.exists(left));
    Files.setLastModifiedTime(left, FileTime.from(Instant.now().minusSeconds(7200)));
    cache.store(KEY, PROGRAM);
    assertFalse(Files.exists(left));
  }

  @Test
  void aFolderThatCannotBeMadeIsNoError() throws IOException {
    Path file = Files.createFile(folder.resolve("file"));
    ProgramCache cache = ProgramCache.in(file.resolve("under"));
    cache.store(KEY, PROGRAM);
    assertTrue(cache.find(KEY).isEmpty());
    cache.forget(KEY);
  }

  @Test
  void aDiskThatTakesNoMoreIsSaidOnceAndIsNoError() throws IOException, InterruptedException {
    // No file of the process may have more than 100 KiB.
    ChildProcess run =
        ChildProcess.run(
            "ulimit -f 100", Map.of(), StoreInAProcess.class, folder.resolve("c").toString());
    assertEquals(0, run.code(), run::output);
    assertEquals(2, lines(run.output(), "found: false"), run::output);
    assertEquals(1, lines(run.output(), "cannot be written"), run::output);
    try (Stream<Path> files = Files.list(folder.resolve("c"))) {
      assertEquals(0, files.count(), "nothing unfinished is left");
    }
  }

  @Test
  void withoutAFolderNothingIsKept() {
    ProgramCache cache = new ProgramCache(null, 1000);
    cache.store(KEY, PROGRAM);
    assertTrue(cache.find(KEY).isEmpty());
  }

  private byte[] found(ProgramCache cache) {
    return cache.find(KEY).orElseThrow();
  }

  private Path entry() throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.findFirst().orElseThrow();
    }
  }

  /** Makes every entry older. */
  private void age(int seconds) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file : files.toList()) {
        FileTime time = Files.getLastModifiedTime(file);
        Files.setLastModifiedTime(file, FileTime.from(time.toInstant().minusSeconds(seconds)));
      }
    }
  }

  private static long lines(String text, String part) {
    return text.lines().filter(l -> l.contains(part)).count();
  }
}
