import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static org.lwjgl.system.MemoryUtil.memFree;
import static org.lwjgl.system.MemoryUtil.memUTF8;
import static org.lwjgl.util.shaderc.Shaderc.*;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.IntBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.lwjgl.Version;
import org.lwjgl.util.shaderc.Shaderc;
import org.lwjgl.util.shaderc.ShadercIncludeResolve;
import org.lwjgl.util.shaderc.ShadercIncludeResult;
import org.lwjgl.util.shaderc.ShadercIncludeResultRelease;

// Compiles the shaders that kernels.txt in the first folder lists to SPIR-V in the second, and
// validates them. Run from source by the Maven build. What has not changed since the last run is
// kept; WEFT_KERNEL_CACHE names a folder in which several checkouts share modules.
//
// Writes index.txt beside the modules, which the backend reads at run time. A line of it:
//   FILE HASH GROUP_SIZE pushed|stored SOURCE FUNCTION NAME=VALUE... NAME@ID...
// with the constants that the module was compiled with, and the ids of its specialisation
// constants.

/** A module. */
record Shader(String source, String function, SortedMap<String, Integer> constants) {
  /** Those of a line of kernels.txt: all combinations of functions and of values between bars. */
  static List<Shader> of(String line) {
    String[] words = line.strip().split("\\s+");
    if (words.length < 2) {
      throw new IllegalArgumentException("kernels.txt: '" + line + "' has no source and function");
    }
    List<Shader> shaders = new ArrayList<>();
    for (String function : words[1].split("\\|")) {
      shaders.add(new Shader(words[0], function, new TreeMap<>()));
    }
    for (int i = 2; i < words.length; i++) {
      String[] constant = words[i].split("=", 2);
      List<Shader> more = new ArrayList<>();
      for (Shader shader : shaders) {
        for (String value : constant[1].split("\\|")) {
          more.add(shader.with(constant[0], Integer.parseInt(value)));
        }
      }
      shaders = more;
    }
    return shaders;
  }

  Shader with(String name, int value) {
    var more = new TreeMap<>(constants);
    more.put(name, value);
    return new Shader(source, function, more);
  }

  String file() {
    var name = new StringBuilder(source.replace('/', '-')).append('.').append(function);
    constants.forEach((constant, value) -> name.append('.').append(constant).append(value));
    return name + ".spv";
  }
}

record Compiled(String indexLine, boolean fresh) {}

final Pattern specialised =
    Pattern.compile(
        "layout\\s*\\(\\s*constant_id\\s*=\\s*(\\d+)\\s*\\)\\s*const\\s+\\w+\\s+(\\w+)");
// What types.glsl makes of STORED_ARGUMENTS and PUSHED_ARGUMENTS.
final Pattern stored = Pattern.compile("\\bstruct\\s+StoredArguments\\b");
final Pattern pushed = Pattern.compile("\\bstruct\\s+Arguments\\b");

Path from;
Path to;
long compiler;

void main(String[] arguments) throws Exception {
  from = Path.of(arguments[0]);
  to = Path.of(arguments[1]);
  Files.createDirectories(to);
  List<Shader> shaders = new ArrayList<>();
  for (String line : Files.readAllLines(from.resolve("kernels.txt"))) {
    if (!line.isBlank() && !line.startsWith("#")) {
      shaders.addAll(Shader.of(line));
    }
  }
  Map<String, String> before = new HashMap<>();
  Path index = to.resolve("index.txt");
  if (Files.exists(index)) {
    for (String line : Files.readAllLines(index)) {
      before.put(line.split(" ", 2)[0], line);
    }
  }
  Files.deleteIfExists(index); // there again once all is well

  compiler = shaderc_compiler_initialize();
  List<String> lines = new ArrayList<>();
  int fresh = 0;
  int failed = 0;
  try (var pool = Executors.newFixedThreadPool(Runtime.getRuntime().availableProcessors())) {
    List<Future<Compiled>> results = new ArrayList<>();
    for (Shader shader : shaders) {
      results.add(pool.submit(() -> compile(shader, before.get(shader.file()))));
    }
    for (int i = 0; i < shaders.size(); i++) {
      try {
        Compiled compiled = results.get(i).get();
        lines.add(compiled.indexLine);
        fresh += compiled.fresh ? 1 : 0;
      } catch (java.util.concurrent.ExecutionException e) {
        System.err.println(shaders.get(i).file() + ": " + e.getCause().getMessage());
        failed++;
      }
    }
  }
  shaderc_compiler_release(compiler);
  if (failed > 0) {
    System.err.println(failed + " of " + shaders.size() + " shaders did not compile");
    System.exit(1);
  }
  Set<String> files = new HashSet<>();
  lines.forEach(line -> files.add(line.split(" ", 2)[0]));
  if (files.size() != shaders.size()) {
    System.err.println("kernels.txt lists a shader twice");
    System.exit(1);
  }
  try (Stream<Path> there = Files.list(to)) {
    for (Path file : there.toList()) {
      if (!files.contains(file.getFileName().toString())) {
        Files.delete(file);
      }
    }
  }
  Files.writeString(index, String.join("\n", lines) + "\n");
  System.out.println(shaders.size() + " shaders, " + fresh + " of them compiled anew");
}

Compiled compile(Shader shader, String before) throws Exception {
  long options = shaderc_compile_options_initialize();
  var resolve =
      ShadercIncludeResolve.create((user, requested, type, requesting, depth) -> {
        String name = memUTF8(requested);
        String text = "";
        String path = "";
        try {
          Path file = Path.of(memUTF8(requesting)).resolveSibling(name).normalize();
          text = Files.readString(file);
          path = file.toString();
        } catch (java.io.IOException e) {
          text = "cannot be read: " + e; // an empty name makes it the error message
        }
        return ShadercIncludeResult.calloc()
            .source_name(memUTF8(path, false))
            .content(memUTF8(text, false))
            .address();
      });
  var release =
      ShadercIncludeResultRelease.create((user, result) -> {
        var included = ShadercIncludeResult.create(result);
        memFree(included.source_name());
        memFree(included.content());
        included.free();
      });
  try {
    shaderc_compile_options_set_target_env(
        options, shaderc_target_env_vulkan, shaderc_env_version_vulkan_1_2);
    shaderc_compile_options_set_optimization_level(options, shaderc_optimization_level_performance);
    shaderc_compile_options_set_warnings_as_errors(options);
    shaderc_compile_options_set_include_callbacks(options, resolve, release, 0L);
    shaderc_compile_options_add_macro_definition(options, "KERNEL_" + shader.function, "1");
    shader.constants.forEach((name, value) ->
        shaderc_compile_options_add_macro_definition(options, name, value.toString()));
    Path source = from.resolve(shader.source + ".comp");
    String text = Files.readString(source);
    String whole = preprocessed(source, text, options);
    boolean isStored = stored.matcher(whole).find();
    if (isStored == pushed.matcher(whole).find()) {
      throw new IllegalArgumentException("there must be PUSHED_ARGUMENTS or STORED_ARGUMENTS");
    }
    if (isStored) {
      shaderc_compile_options_add_macro_definition(options, "HAS_STORED_ARGUMENTS", "1");
      whole = preprocessed(source, text, options);
    }
    String hash = hash(whole);
    Path target = to.resolve(shader.file());
    if (before != null
        && before.startsWith(shader.file() + " " + hash + " ")
        && Files.exists(target)) {
      return new Compiled(before, false);
    }
    Path cached =
        System.getenv("WEFT_KERNEL_CACHE") instanceof String c ? Path.of(c, hash + ".spirv") : null;
    byte[] spirv;
    if (cached != null && Files.exists(cached)) {
      spirv = Files.readAllBytes(cached);
    } else {
      spirv =
          result(
              shaderc_compile_into_spv(
                  compiler, text, shaderc_compute_shader, source.toString(), "main", options));
      validate(spirv);
      if (cached != null) {
        Files.createDirectories(cached.getParent());
        Path unfinished = Files.createTempFile(cached.getParent(), "unfinished", "");
        Files.write(unfinished, spirv);
        Files.move(unfinished, cached, StandardCopyOption.ATOMIC_MOVE);
      }
    }
    Files.write(target, spirv);
    return new Compiled(indexLine(shader, hash, whole, isStored, groupSize(spirv)), true);
  } finally {
    shaderc_compile_options_release(options);
    resolve.free();
    release.free();
  }
}

String preprocessed(Path source, String text, long options) {
  return new String(
      result(
          shaderc_compile_into_preprocessed_text(
              compiler, text, shaderc_compute_shader, source.toString(), "main", options)),
      StandardCharsets.UTF_8);
}

byte[] result(long result) {
  try {
    if (shaderc_result_get_compilation_status(result) != shaderc_compilation_status_success) {
      throw new IllegalArgumentException(shaderc_result_get_error_message(result));
    }
    var bytes = shaderc_result_get_bytes(result);
    byte[] copy = new byte[bytes.remaining()];
    bytes.get(copy);
    return copy;
  } finally {
    shaderc_result_release(result);
  }
}

/** Of the text with all includes and macros, less the paths in it, and of the compiler. */
String hash(String preprocessed) throws Exception {
  String text = Version.getVersion() + preprocessed.replace(from.toString(), "");
  byte[] digest =
      MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
  return HexFormat.of().formatHex(digest, 0, 16);
}

/** Work-items of a group, as the module's LocalSize has them; all lie along x. */
int groupSize(byte[] spirv) {
  final int executionMode = 16; // OpExecutionMode
  final int localSize = 17;
  IntBuffer words = ByteBuffer.wrap(spirv).order(ByteOrder.LITTLE_ENDIAN).asIntBuffer();
  for (int at = 5; at < words.limit(); at += words.get(at) >>> 16) {
    if ((words.get(at) & 0xffff) == executionMode && words.get(at + 2) == localSize) {
      if (words.get(at + 4) != 1 || words.get(at + 5) != 1) {
        throw new IllegalArgumentException("groups must lie along x");
      }
      return words.get(at + 3);
    }
  }
  throw new IllegalArgumentException("the size of a group must be a constant of the module");
}

String indexLine(Shader shader, String hash, String preprocessed, boolean isStored, int groupSize) {
  var line = new StringBuilder(shader.file());
  line.append(' ').append(hash).append(' ').append(groupSize);
  line.append(isStored ? " stored " : " pushed ").append(shader.source);
  line.append(' ').append(shader.function);
  shader.constants.forEach(
      (name, value) -> line.append(' ').append(name).append('=').append(value));
  Matcher constant = specialised.matcher(preprocessed);
  while (constant.find()) {
    line.append(' ').append(constant.group(2)).append('@').append(constant.group(1));
  }
  return line.toString();
}

/** SPIRV-Tools is inside LWJGL's shaderc library, exported but not bound. */
void validate(byte[] spirv) throws Exception {
  final int vulkan12 = 23; // SPV_ENV_VULKAN_1_2
  var linker = Linker.nativeLinker();
  try (Arena arena = Arena.ofConfined()) {
    var create =
        linker.downcallHandle(symbol("spvContextCreate"), FunctionDescriptor.of(ADDRESS, JAVA_INT));
    var destroy =
        linker.downcallHandle(symbol("spvContextDestroy"), FunctionDescriptor.ofVoid(ADDRESS));
    var check =
        linker.downcallHandle(
            symbol("spvValidateBinary"),
            FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS, JAVA_LONG, ADDRESS));
    var context = (MemorySegment) create.invoke(vulkan12);
    var words = arena.allocate(spirv.length, 4).copyFrom(MemorySegment.ofArray(spirv));
    var diagnostic = arena.allocate(ADDRESS);
    int code = (int) check.invoke(context, words, spirv.length / 4L, diagnostic);
    String complaint = null;
    if (code != 0) {
      // struct { size_t line, column, index; char *error; bool isTextSource; }
      var found = diagnostic.get(ADDRESS, 0).reinterpret(40);
      complaint = found.get(ADDRESS, 24).reinterpret(4096).getString(0);
    }
    destroy.invoke(context);
    if (complaint != null) {
      throw new IllegalArgumentException("not valid (" + code + "): " + complaint);
    }
  } catch (RuntimeException | Error e) {
    throw e;
  } catch (Throwable t) {
    throw new IllegalStateException(t);
  }
}

MemorySegment symbol(String name) {
  return MemorySegment.ofAddress(Shaderc.getLibrary().getFunctionAddress(name));
}
