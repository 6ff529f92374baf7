package dev.weft.cli;

import com.google.inject.AbstractModule;
import com.google.inject.Guice;
import com.google.inject.Injector;
import com.google.inject.Scopes;
import dev.weft.DiscoveryReport;
import dev.weft.Weft;
import java.util.function.Supplier;

/** Where the command starts. */
public final class Main {
  private Main() {}

  /**
   * Runs the command and ends the process with its exit code: 0 good, 1 wrong result, 2 bad usage,
   * 3 backend unavailable.
   *
   * @param arguments the command line
   */
  public static void main(String[] arguments) {
    System.exit(run(Weft::discover, Console.ofProcess(), arguments));
  }

  /** Runs the command in this process. */
  static int run(Supplier<DiscoveryReport> discovery, Console console, String... arguments) {
    Injector injector = Guice.createInjector(new CommandModule(discovery, console));
    int code = injector.getInstance(CommandRunner.class).run(arguments);
    console.out().flush();
    console.err().flush();
    return code;
  }

  /** Binds the console, the options and every command. */
  private static final class CommandModule extends AbstractModule {
    private final Supplier<DiscoveryReport> discovery;
    private final Console console;

    CommandModule(Supplier<DiscoveryReport> discovery, Console console) {
      this.discovery = discovery;
      this.console = console;
    }

    @Override
    protected void configure() {
      binder().requireExplicitBindings();
      binder().requireAtInjectOnConstructors();
      bind(Console.class).toInstance(console);
      bind(DiscoveryReport.class).toProvider(discovery::get).in(Scopes.SINGLETON);
      bind(GlobalOptions.class);
      bind(Backends.class);
      bind(CommandRunner.class);
      bind(DemoCommand.class);
      bind(DevicesCommand.class);
      bind(DoctorCommand.class);
      bind(RunCommand.class);
      bind(CheckCommand.class);
      bind(VerifyCommand.class);
      bind(CertificateCommand.class);
      bind(BenchCommand.class);
      bind(TestCommand.class);
      bind(WeftCommand.class);
    }
  }
}
