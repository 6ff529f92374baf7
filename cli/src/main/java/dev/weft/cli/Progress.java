package dev.weft.cli;

import me.tongfei.progressbar.DelegatingProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;
import org.jspecify.annotations.Nullable;

/** A bar on the error stream while long work goes on, if a person watches. */
final class Progress implements AutoCloseable {
  private static final int WIDTH = 78;

  private final Console console;
  private final @Nullable ProgressBar bar;

  private Progress(Console console, @Nullable ProgressBar bar) {
    this.console = console;
    this.bar = bar;
  }

  static Progress start(Console console, String task, long steps) {
    if (!console.isTerminal()) {
      return new Progress(console, null);
    }
    ProgressBar bar =
        new ProgressBarBuilder()
            .setTaskName(task)
            .setInitialMax(steps)
            .setStyle(ProgressBarStyle.ASCII)
            // Its own consumer asks the terminal for its width, through a native library.
            .setConsumer(
                new DelegatingProgressBarConsumer(
                    line -> {
                      console.err().print("\r" + line);
                      console.err().flush();
                    },
                    WIDTH))
            .build();
    return new Progress(console, bar);
  }

  /** One step is done, and this is what comes next. */
  void step(String next) {
    if (bar != null) {
      bar.step();
      bar.setExtraMessage(next.length() > 24 ? next.substring(0, 24) : next);
    }
  }

  /** Says something at once, on the error stream; the bar is drawn again below it. */
  void say(String line) {
    clear();
    console.err().println(line);
  }

  /** Takes the bar off the screen. */
  @Override
  public void close() {
    if (bar != null) {
      bar.close();
    }
    clear();
  }

  private void clear() {
    if (bar != null) {
      console.err().print("\r" + " ".repeat(WIDTH) + "\r");
      console.err().flush();
    }
  }
}
