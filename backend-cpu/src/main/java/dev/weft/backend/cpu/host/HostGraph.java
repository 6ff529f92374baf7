package dev.weft.backend.cpu.host;

import dev.weft.spi.BackendGraph;
import java.util.List;

/** Recorded work, run again in the same order by every launch. */
record HostGraph(List<HostStream.Work> works) implements BackendGraph {
  HostGraph {
    works = List.copyOf(works);
  }

  @Override
  public void close() {}
}
