package dev.weft;

import java.io.Serial;

/** A device cannot run a spec; the message gives the spec and the reason. */
public final class UnsupportedSpecException extends WeftException {
  @Serial private static final long serialVersionUID = 1;

  private final String reason;

  /**
   * Creates an exception.
   *
   * @param spec the spec's canonical text
   * @param device the device's selector, such as {@code opencl:0}
   * @param reason why not, as the backend put it
   */
  public UnsupportedSpecException(String spec, String device, String reason) {
    super(device + " cannot run " + spec + ": " + reason, null);
    this.reason = reason;
  }

  /**
   * Returns why the spec is not supported.
   *
   * @return the backend's reason alone
   */
  public String reason() {
    return reason;
  }
}
