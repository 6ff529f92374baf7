package dev.weft.cli;

import dev.weft.BackendUnavailableException;
import dev.weft.DiscoveryReport;
import dev.weft.Weft;
import dev.weft.spi.KernelProvider;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** Jars named on the command line, whose backends are looked for beside those of the class path. */
final class ProviderJars implements AutoCloseable {
  private final List<Path> files;
  private final URLClassLoader loader;

  private ProviderJars(List<Path> files, URLClassLoader loader) {
    this.files = files;
    this.loader = loader;
  }

  /** Opens jars and folders; each element may name several, as in a class path. */
  static ProviderJars open(List<String> paths) {
    List<Path> files = new ArrayList<>();
    List<URL> urls = new ArrayList<>();
    try {
      for (String element : paths) {
        for (String path : element.split(Pattern.quote(File.pathSeparator), -1)) {
          Path file = Path.of(path);
          if (path.isEmpty() || !Files.exists(file)) {
            throw new NoSuchFileException(path);
          }
          files.add(file);
          urls.add(file.toUri().toURL());
        }
      }
    } catch (NoSuchFileException e) {
      throw new UncheckedIOException(e);
    } catch (MalformedURLException e) {
      throw new IllegalArgumentException("--provider-jar: " + e.getMessage(), e);
    }
    return new ProviderJars(
        List.copyOf(files),
        new URLClassLoader(
            "provider jars", urls.toArray(URL[]::new), ProviderJars.class.getClassLoader()));
  }

  /** All backends, those of the class path among them. */
  DiscoveryReport discover() {
    return Weft.discover(loader);
  }

  /**
   * The id of the one backend that the jars bring.
   *
   * @throws BackendUnavailableException if there is none, or none that can be used
   * @throws IllegalArgumentException if there are several
   */
  String onlyBackend(DiscoveryReport report) {
    List<String> ids =
        report.entries().stream().filter(this::isFromHere).map(DiscoveryReport.Entry::id).toList();
    if (ids.isEmpty()) {
      String broken =
          report.entries().stream()
              .filter(entry -> entry.provider() == null)
              .map(DiscoveryReport.Entry::toString)
              .collect(Collectors.joining("; "));
      throw new BackendUnavailableException(
          "no backend in "
              + files
              + (broken.isEmpty()
                  ? ": it needs a file META-INF/services/dev.weft.spi.KernelProvider that names its"
                      + " provider"
                  : ": " + broken),
          null);
    }
    if (ids.size() > 1) {
      throw new IllegalArgumentException(
          "--provider-jar: expected one backend, but there are " + ids + "; say --backend ID");
    }
    return ids.getFirst();
  }

  private boolean isFromHere(DiscoveryReport.Entry entry) {
    KernelProvider provider = entry.provider();
    return provider != null && loader.equals(provider.getClass().getClassLoader());
  }

  @Override
  public void close() {
    try {
      loader.close();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
