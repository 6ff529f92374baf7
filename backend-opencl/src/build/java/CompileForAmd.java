import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * Compiles the kernels offline for AMD's GPUs, which prove so that they compile and link there, and
 * tables what they take of registers and local memory. What it makes is not shipped: the device's
 * own compiler builds kernels when they are prepared.
 *
 * <p>Arguments: folder of sources, list of programs, folder of outputs, chips between commas (such
 * as gfx942,gfx1100; all, or none). A line of the list is a family of chips, a source, and the
 * constants that a recipe compiles it with there; families that are not AMD's are left alone. A
 * source that has no line is an error, and so is a symbol that nobody defines.
 *
 * <p>Writes kernels.tsv (a line for each chip, program and kernel) and kernels.md (a line for each
 * kernel: the most over its programs). A program is compiled again when its source, a file that it
 * includes, the command or clang changed; WEFT_KERNEL_CACHE names a folder that keeps results for
 * several checkouts.
 *
 * <p>Without clang-19, its linker and libclc it says so in a line, and the build goes on.
 */
void main(String[] args) throws Exception {
  Path from = Path.of(args[0]);
  Path list = Path.of(args[1]);
  Path to = Path.of(args[2]);
  List<Chip> chips =
      switch (args[3].strip()) {
        case "all" -> CHIPS;
        case "none" -> List.of();
        default -> Arrays.stream(args[3].split(",")).map(String::strip).map(this::chip).toList();
      };
  if (chips.isEmpty()) {
    return;
  }
  List<Program> programs = programs(from, list);
  Optional<Tools> tools = tools();
  if (tools.isEmpty()) {
    IO.println(
        "WARNING: no clang-19, lld-19, llvm-19 or libclc-19 (looked at PATH and /usr/lib/clc): the"
            + " OpenCL kernels are not compiled for AMD's GPUs");
    return;
  }
  Path stamps = Files.createDirectories(to.resolve("stamps"));
  String version = output(List.of(tools.get().clang().toString(), "--version"));
  long start = System.nanoTime();
  List<String> lines = new ArrayList<>();
  List<String> errors = new ArrayList<>();
  Set<String> kept = new HashSet<>();
  try (var pool = Executors.newFixedThreadPool(Runtime.getRuntime().availableProcessors())) {
    Map<String, Future<List<String>>> jobs = new TreeMap<>();
    for (Chip chip : chips) {
      for (Program program : programs) {
        if (!program.family().equals(chip.family())) {
          continue;
        }
        Job job = new Job(chip, program, from, stamps);
        kept.add(job.stamp().getFileName().toString());
        jobs.put(chip + " " + program, pool.submit(() -> compile(tools.get(), version, job)));
      }
    }
    for (var job : jobs.entrySet()) {
      try {
        lines.addAll(job.getValue().get());
      } catch (java.util.concurrent.ExecutionException e) {
        String log = String.valueOf(e.getCause().getMessage());
        errors.add(job.getKey() + ": " + log.lines().limit(20).collect(Collectors.joining("\n")));
      }
    }
  }
  if (!errors.isEmpty()) {
    errors.stream().limit(5).forEach(IO::println);
    throw new IllegalStateException(errors.size() + " programs do not compile for AMD's GPUs");
  }
  clear(stamps, kept);
  Files.writeString(to.resolve("kernels.tsv"), HEADER + "\n" + String.join("\n", lines) + "\n");
  Files.writeString(to.resolve("kernels.md"), summary(lines, chips));
  IO.println(
      "AMD: "
          + kept.size()
          + " programs, "
          + lines.size()
          + " kernels for "
          + String.join(", ", chips.stream().map(Chip::name).toList())
          + " compiled, not run, in "
          + (System.nanoTime() - start) / 1_000_000_000
          + " s");
}

record Chip(String name, String family) {
  @Override
  public String toString() {
    return name;
  }
}

final List<Chip> CHIPS =
    List.of(
        new Chip("gfx90a", "cdna"),
        new Chip("gfx942", "cdna"),
        new Chip("gfx1100", "rdna3"),
        new Chip("gfx1201", "rdna4"));

Chip chip(String name) {
  return CHIPS.stream()
      .filter(c -> c.name().equals(name))
      .findFirst()
      .orElseThrow(() -> new IllegalArgumentException(name + " is none of " + CHIPS));
}

/** For a family: a source, without its suffix, and its constants, such as TYPE=1. */
record Program(String family, String source, List<String> constants) {
  @Override
  public String toString() {
    return (source + " " + String.join(" ", constants)).strip();
  }
}

List<Program> programs(Path from, Path list) throws IOException {
  List<Program> programs = new ArrayList<>();
  for (String line : Files.readAllLines(list)) {
    String text = line.strip();
    if (!text.isEmpty() && !text.startsWith("#")) {
      String[] words = text.split("\\s+");
      programs.add(new Program(words[0], words[1], List.of(words).subList(2, words.length)));
    }
  }
  Set<String> listed = new TreeSet<>(programs.stream().map(Program::source).toList());
  Set<String> present = new TreeSet<>();
  try (var files = Files.walk(from)) {
    files
        .filter(p -> p.toString().endsWith(".cl"))
        .map(p -> from.relativize(p).toString().replace(File.separatorChar, '/'))
        .forEach(name -> present.add(name.substring(0, name.length() - ".cl".length())));
  }
  if (!listed.equals(present)) {
    throw new IllegalStateException(list + " lists " + listed + ", there are " + present);
  }
  return programs;
}

/** One program for one chip. */
record Job(Chip chip, Program program, Path folder, Path stamps) {
  Path source() {
    return folder.resolve(program.source() + ".cl");
  }

  List<String> macros() {
    List<String> macros = new ArrayList<>();
    program.constants().forEach(c -> macros.add("-D" + c));
    return macros;
  }

  /** The key, then the lines of the table. */
  Path stamp() {
    String name = (chip + "." + program).replaceAll("[^A-Za-z0-9.=]+", "_");
    return stamps.resolve(name + ".stamp");
  }
}

record Tools(Path clang, Path readobj, Path nm, Path library) {}

/** Returns the lines of the table. */
List<String> compile(Tools tools, String version, Job job) throws Exception {
  var command =
      new ArrayList<>(
          List.of(
              tools.clang().toString(),
              "-x",
              "cl",
              "-cl-std=CL1.2",
              "-Xclang",
              "-finclude-default-header",
              "-target",
              "amdgcn-amd-amdhsa",
              "-mcpu=" + job.chip().name(),
              "-nogpulib",
              "-Xclang",
              "-mlink-builtin-bitcode",
              "-Xclang",
              tools.library().toString(),
              "-Wno-linker-warnings", // of the library's triple, which lacks the vendor
              "-O3"));
  command.addAll(job.macros());
  String key =
      HexFormat.of()
          .formatHex(
              MessageDigest.getInstance("SHA-256")
                  .digest(
                      (version + command + text(job.source(), new HashSet<>()))
                          .getBytes(StandardCharsets.UTF_8)));
  if (Files.exists(job.stamp())) {
    List<String> stamp = Files.readAllLines(job.stamp());
    if (stamp.getFirst().equals(key)) {
      return stamp.subList(1, stamp.size());
    }
  }
  Path cached =
      System.getenv("WEFT_KERNEL_CACHE") instanceof String c ? Path.of(c, key + ".amd") : null;
  if (cached != null && Files.exists(cached)) {
    Files.copy(cached, job.stamp(), StandardCopyOption.REPLACE_EXISTING);
    List<String> stamp = Files.readAllLines(job.stamp());
    return stamp.subList(1, stamp.size());
  }
  Path object = Files.createTempFile("weft", ".co");
  List<String> lines = new ArrayList<>();
  try {
    command.addAll(List.of("-o", object.toString(), job.source().toString()));
    output(command);
    String missing = output(List.of(tools.nm().toString(), "-u", object.toString())).strip();
    if (!missing.isEmpty()) {
      throw new IOException("undefined: " + missing.replaceAll("\\s+", " "));
    }
    for (Map<String, String> kernel :
        kernels(output(List.of(tools.readobj().toString(), "--notes", object.toString())))) {
      List<String> line = new ArrayList<>();
      line.add(job.chip().name());
      line.add(job.program().source());
      line.add(String.join(" ", job.program().constants()));
      line.add(kernel.get("name"));
      for (String field : FIELDS) {
        line.add(kernel.getOrDefault(field, "0"));
      }
      lines.add(String.join("\t", line));
    }
  } finally {
    Files.delete(object);
  }
  Files.writeString(job.stamp(), key + "\n" + String.join("\n", lines) + "\n");
  if (cached != null) {
    Files.createDirectories(cached.getParent());
    Path unfinished = Files.createTempFile(cached.getParent(), "unfinished", "");
    Files.copy(job.stamp(), unfinished, StandardCopyOption.REPLACE_EXISTING);
    Files.move(unfinished, cached, StandardCopyOption.ATOMIC_MOVE);
  }
  return lines;
}

/** What the code object's notes say of each kernel, in the order of the table's columns. */
final List<String> FIELDS =
    List.of(
        "vgpr_count",
        "agpr_count",
        "sgpr_count",
        "group_segment_fixed_size",
        "private_segment_fixed_size",
        "vgpr_spill_count",
        "sgpr_spill_count");

final String HEADER =
    "chip\tsource\tconstants\tkernel\tvgpr\tagpr\tsgpr\tlocal bytes\tprivate bytes"
        + "\tvgpr spills\tsgpr spills";

/** The kernels of the notes of a code object: their own fields, not those of their arguments. */
List<Map<String, String>> kernels(String notes) {
  List<Map<String, String>> kernels = new ArrayList<>();
  boolean among = false;
  for (String line : notes.lines().toList()) {
    if (line.startsWith("amdhsa.kernels:")) {
      among = true;
    } else if (!line.startsWith(" ")) {
      among = false;
    }
    Matcher field = Pattern.compile("^  (- |  )\\.(\\w+): *(\\S*).*$").matcher(line);
    if (among && field.matches()) {
      if (field.group(1).equals("- ")) {
        kernels.add(new TreeMap<>());
      }
      kernels.getLast().put(field.group(2), field.group(3));
    }
  }
  return kernels;
}

/**
 * For each kernel and chip: programs, and the most of their registers and memory, and of what they
 * spill to memory. (Scalar registers are spilled to vector registers, which counts as their use.)
 */
String summary(List<String> lines, List<Chip> chips) {
  Map<String, long[]> most = new TreeMap<>();
  for (String line : lines) {
    String[] f = line.split("\t");
    long[] values = most.computeIfAbsent(f[1] + ":" + f[3] + "\t" + f[0], _ -> new long[6]);
    values[0]++;
    values[1] = Math.max(values[1], Long.parseLong(f[4]));
    values[2] = Math.max(values[2], Long.parseLong(f[6]));
    values[3] = Math.max(values[3], Long.parseLong(f[7]));
    values[4] = Math.max(values[4], Long.parseLong(f[8]));
    values[5] = Math.max(values[5], Long.parseLong(f[9]));
  }
  StringBuilder table = new StringBuilder("| kernel | programs |");
  chips.forEach(c -> table.append(" ").append(c).append(" |"));
  table.append("\n|---|---|").append("---|".repeat(chips.size())).append("\n");
  Set<String> kernels = new TreeSet<>();
  most.keySet().forEach(k -> kernels.add(k.substring(0, k.indexOf('\t'))));
  for (String kernel : kernels) {
    table.append("| `").append(kernel).append("` |");
    StringBuilder cells = new StringBuilder();
    long programs = 0;
    for (Chip chip : chips) {
      long[] v = most.get(kernel + "\t" + chip);
      if (v == null) {
        cells.append(" - |");
        continue;
      }
      programs = v[0];
      cells.append(" ").append(v[1]).append(" / ").append(v[2]).append(" / ").append(v[3]);
      if (v[4] > 0 || v[5] > 0) {
        cells.append(" (").append(v[4]).append(" B private, ").append(v[5]).append(" spills)");
      }
      cells.append(" |");
    }
    table.append(" ").append(programs).append(" |").append(cells).append("\n");
  }
  return table.toString();
}

/** The source and every file that it includes, directly or not, each once. */
String text(Path source, Set<Path> seen) throws IOException {
  Path file = source.toRealPath();
  if (!seen.add(file)) {
    return "";
  }
  String own = Files.readString(file);
  StringBuilder all = new StringBuilder(own);
  Matcher include = Pattern.compile("(?m)^\\s*#\\s*include\\s+\"([^\"]+)\"").matcher(own);
  while (include.find()) {
    all.append(text(file.resolveSibling(include.group(1)), seen));
  }
  return all.toString();
}

/** Removes results of programs that are no longer listed. */
void clear(Path folder, Set<String> keep) throws IOException {
  try (var files = Files.list(folder)) {
    for (Path file : files.toList()) {
      if (!keep.contains(file.getFileName().toString())) {
        Files.delete(file);
      }
    }
  }
}

String output(List<String> command) throws Exception {
  Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
  String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
  if (process.waitFor() != 0) {
    throw new IOException(String.join(" ", command) + " failed:\n" + text);
  }
  return text;
}

Optional<Tools> tools() {
  Path library = Path.of("/usr/lib/clc/amdgcn--amdhsa.bc");
  Optional<Path> clang = tool("clang-19");
  Optional<Path> readobj = tool("llvm-readobj-19");
  Optional<Path> nm = tool("llvm-nm-19");
  boolean links = tool("ld.lld-19").isPresent() || tool("lld-19").isPresent();
  if (clang.isEmpty() || readobj.isEmpty() || nm.isEmpty() || !links || !Files.exists(library)) {
    return Optional.empty();
  }
  return Optional.of(new Tools(clang.get(), readobj.get(), nm.get(), library));
}

Optional<Path> tool(String name) {
  return Arrays.stream(System.getenv("PATH").split(File.pathSeparator))
      .map(folder -> Path.of(folder, name))
      .filter(Files::isExecutable)
      .findFirst();
}
