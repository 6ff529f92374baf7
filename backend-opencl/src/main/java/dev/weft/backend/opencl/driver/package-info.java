/**
 * OpenCL: loading it safely, calling it, and what its errors mean.
 *
 * <p>Platforms, devices, contexts and programs go through JOCL. Queues, buffers, kernels and events
 * go through {@link java.lang.foreign} ({@link dev.weft.backend.opencl.driver.Calls}), by raw
 * handles: JOCL cannot make its own objects of a foreign handle, which interop needs, and allocates
 * for every argument of every dispatch.
 */
package dev.weft.backend.opencl.driver;
