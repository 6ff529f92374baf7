import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Compiles each .cu to a cubin per architecture and to PTX, and writes what came of it to
 * kernels.txt (its format: KernelManifest). Without nvcc it says so, leaves an empty manifest, and
 * the build goes on.
 *
 * <p>Arguments: folder of sources, folder of outputs, folder of stamps (by which unchanged sources
 * are skipped), architectures of machine code between commas, such as sm_80,sm_90a,sm_100. PTX is
 * always built. A source in a folder named like an architecture (moe/sm_90a/experts.cu) is compiled
 * for that one alone, as it uses what no other has; it has no PTX.
 *
 * <p>An image is compiled again when its source, a header that it includes, the command or nvcc
 * changed. WEFT_KERNEL_CACHE names a folder in which images are kept by that key, so that several
 * checkouts, or runs of continuous integration, share them.
 */
void main(String[] args) throws Exception {
  Path from = Path.of(args[0]);
  Path to = Path.of(args[1]);
  Path stamps = Path.of(args[2]);
  List<String> architectures = new ArrayList<>(List.of("ptx"));
  Stream.of(args[3].split(","))
      .map(String::strip)
      .filter(a -> !a.isEmpty())
      .forEach(architectures::add);
  Files.createDirectories(to);
  Optional<Path> nvcc = nvcc();
  if (nvcc.isEmpty()) {
    clear(to, List.of());
    Files.writeString(to.resolve("kernels.txt"), "none\n");
    IO.println(
        "WARNING: no nvcc (looked at "
            + (System.getenv("WEFT_NVCC") == null
                ? "CUDA_HOME, PATH, /usr/local/cuda"
                : "WEFT_NVCC, and nowhere else, as it is set")
            + "): the CUDA backend is built without kernels");
    return;
  }
  List<Path> sources;
  try (var files = Files.walk(from)) {
    sources = files.filter(p -> p.toString().endsWith(".cu")).sorted().toList();
  }
  String version = output(List.of(nvcc.get().toString(), "--version"));
  List<String> outputs = new ArrayList<>();
  var manifest = new TreeSet<String>();
  long start = System.nanoTime();
  try (var pool = Executors.newFixedThreadPool(Runtime.getRuntime().availableProcessors())) {
    List<Future<List<String>>> jobs = new ArrayList<>();
    for (Path source : sources) {
      for (String architecture : architectures) {
        if (!architecture.equals(only(source, architecture))) {
          continue;
        }
        Image image = new Image(source, architecture, to, stamps);
        outputs.add(image.file().getFileName().toString());
        jobs.add(pool.submit(() -> compile(nvcc.get(), version, image)));
      }
    }
    for (var job : jobs) {
      manifest.addAll(job.get());
    }
  }
  clear(to, outputs);
  Files.writeString(to.resolve("kernels.txt"), String.join("\n", manifest) + "\n");
  IO.println(
      "kernels: "
          + manifest.stream().filter(l -> l.startsWith("kernel\t")).count()
          + " for "
          + architectures
          + " in "
          + (System.nanoTime() - start) / 1_000_000_000
          + " s");
}

/** The one architecture of a source that has only one, else the given one. */
String only(Path source, String any) {
  String folder = source.getParent().getFileName().toString();
  return folder.startsWith("sm_") ? folder : any;
}

/** One source for one architecture. */
record Image(Path source, String architecture, Path folder, Path stamps) {
  String module() {
    String name = source.getFileName().toString().replace(".cu", "");
    return isOfOneArchitecture() ? name + "_" + architecture : name;
  }

  boolean isPtx() {
    return architecture.equals("ptx");
  }

  boolean isOfOneArchitecture() {
    return source.getParent().getFileName().toString().equals(architecture);
  }

  Path file() {
    return folder.resolve(module() + (isPtx() ? ".ptx" : "." + architecture + ".cubin"));
  }

  /**
   * Not among the outputs, so that it does not get into the jar: the key, then the manifest's
   * lines.
   */
  Path stamp() {
    return stamps.resolve(file().getFileName() + ".stamp");
  }
}

/** Removes images that are not of this build. */
void clear(Path folder, List<String> keep) throws IOException {
  try (var files = Files.list(folder)) {
    for (Path file : files.toList()) {
      String name = file.getFileName().toString();
      if ((name.endsWith(".cubin") || name.endsWith(".ptx")) && !keep.contains(name)) {
        Files.delete(file);
      }
    }
  }
}

/** The source and every header that it includes, directly or not, each once. */
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

/** Returns the manifest's lines. */
List<String> compile(Path nvcc, String version, Image image) throws Exception {
  var command =
      new ArrayList<>(
          List.of(
              nvcc.toString(),
              "-O3",
              "-std=c++17",
              "-Xptxas",
              "-v,-warn-spills",
              "-o",
              image.file().toString()));
  command.addAll(
      image.isPtx()
          ? List.of("-ptx", "-arch=compute_80")
          : List.of("-cubin", "-arch=" + image.architecture));
  String key =
      HexFormat.of()
          .formatHex(
              MessageDigest.getInstance("SHA-256")
                  .digest(
                      (version + image.module() + command + text(image.source, new HashSet<>()))
                          .replace(image.folder.toString(), "")
                          .getBytes(StandardCharsets.UTF_8)));
  command.add(image.source.toString());
  if (Files.exists(image.file()) && Files.exists(image.stamp())) {
    List<String> stamp = Files.readAllLines(image.stamp());
    if (stamp.getFirst().equals(key)) {
      return stamp.subList(1, stamp.size());
    }
  }
  Files.createDirectories(image.stamp().getParent());
  Files.deleteIfExists(image.stamp()); // a build that is interrupted leaves half an image
  Path cached = System.getenv("WEFT_KERNEL_CACHE") instanceof String c ? Path.of(c, key) : null;
  if (cached != null && Files.exists(cached.resolve("stamp"))) {
    Files.copy(cached.resolve("image"), image.file(), StandardCopyOption.REPLACE_EXISTING);
    Files.copy(cached.resolve("stamp"), image.stamp(), StandardCopyOption.REPLACE_EXISTING);
    List<String> stamp = Files.readAllLines(image.stamp());
    return stamp.subList(1, stamp.size());
  }
  String log = output(command);
  List<String> lines = new ArrayList<>();
  lines.add("image\t" + image.module() + "\t" + image.architecture);
  if (image.isPtx()) {
    lowerVersion(nvcc, image.file());
    lines.addAll(entries(image.module(), Files.readString(image.file())));
  } else {
    lines.addAll(resources(image, log));
  }
  if (image.isOfOneArchitecture()) { // there is no PTX in the jar to take argument sizes from
    Path ptx = Files.createTempFile("weft", ".ptx");
    try {
      output(
          List.of(
              nvcc.toString(),
              "-std=c++17",
              "-ptx",
              "-arch=" + image.architecture.replace("sm_", "compute_"),
              "-o",
              ptx.toString(),
              image.source.toString()));
      lines.addAll(entries(image.module(), Files.readString(ptx)));
    } finally {
      Files.delete(ptx);
    }
  }
  Files.writeString(image.stamp(), key + "\n" + String.join("\n", lines) + "\n");
  if (cached != null) {
    keep(image, cached);
  }
  return lines;
}

/** Whole or not at all: another build may look for the same image meanwhile. */
void keep(Image image, Path cached) throws IOException {
  Files.createDirectories(cached.getParent());
  Path unfinished = Files.createTempDirectory(cached.getParent(), "unfinished");
  Files.copy(image.file(), unfinished.resolve("image"));
  Files.copy(image.stamp(), unfinished.resolve("stamp"));
  try {
    Files.move(unfinished, cached, StandardCopyOption.ATOMIC_MOVE);
  } catch (IOException e) { // another build was first
    Files.delete(unfinished.resolve("image"));
    Files.delete(unfinished.resolve("stamp"));
    Files.delete(unfinished);
  }
}

/**
 * nvcc 13 writes PTX ISA 9.0, which drivers before CUDA 13 refuse. ptxas proves that an older one
 * suffices.
 */
void lowerVersion(Path nvcc, Path ptx) throws Exception {
  Files.writeString(ptx, Files.readString(ptx).replaceFirst("(?m)^\\.version .*$", ".version 8.4"));
  Path ptxas = nvcc.toRealPath().resolveSibling("ptxas");
  output(
      List.of(
          Files.exists(ptxas) ? ptxas.toString() : "ptxas",
          "-arch=sm_80",
          "-o",
          "/dev/null",
          ptx.toString()));
}

/** Names and argument sizes of the kernels. */
List<String> entries(String module, String ptx) {
  List<String> lines = new ArrayList<>();
  Matcher entry =
      Pattern.compile("\\.entry\\s+(\\w+)\\s*\\(\\s*\\.param[^\\[]*\\[(\\d+)\\]").matcher(ptx);
  while (entry.find()) {
    lines.add("kernel\t" + module + "\t" + entry.group(1) + "\t" + entry.group(2));
  }
  return lines;
}

/** What ptxas -v said, kernel by kernel. */
List<String> resources(Image image, String log) {
  List<String> lines = new ArrayList<>();
  String name = "";
  String spills = "";
  for (String line : log.lines().toList()) {
    Matcher compiling = Pattern.compile("Compiling entry function '(\\w+)'").matcher(line);
    if (compiling.find()) {
      name = compiling.group(1);
    }
    Matcher spill =
        Pattern.compile("(\\d+) bytes spill stores, (\\d+) bytes spill loads").matcher(line);
    if (spill.find()) {
      spills = spill.group(1) + "\t" + spill.group(2);
    }
    Matcher used = Pattern.compile("Used (\\d+) registers").matcher(line);
    if (used.find()) {
      Matcher shared = Pattern.compile("(\\d+) bytes smem").matcher(line);
      lines.add(
          String.join(
              "\t",
              "resources",
              image.architecture,
              name,
              used.group(1),
              shared.find() ? shared.group(1) : "0",
              spills));
    }
  }
  return lines;
}

String output(List<String> command) throws Exception {
  Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
  String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
  if (process.waitFor() != 0) {
    throw new IOException(String.join(" ", command) + " failed:\n" + text);
  }
  return text;
}

/** WEFT_NVCC alone where it is set, so that a build without nvcc can be tried anywhere. */
Optional<Path> nvcc() {
  if (System.getenv("WEFT_NVCC") instanceof String given) {
    return Optional.of(Path.of(given)).filter(Files::isExecutable);
  }
  var places = new ArrayList<Path>();
  if (System.getenv("CUDA_HOME") instanceof String home) {
    places.add(Path.of(home, "bin", "nvcc"));
  }
  for (String folder : System.getenv("PATH").split(File.pathSeparator)) {
    places.add(Path.of(folder, "nvcc"));
  }
  places.add(Path.of("/usr/local/cuda/bin/nvcc"));
  return places.stream().filter(Files::isExecutable).findFirst();
}
