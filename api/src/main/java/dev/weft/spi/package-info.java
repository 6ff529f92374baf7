/**
 * What authors of backends implement.
 *
 * <p>A backend is a {@link dev.weft.spi.KernelProvider}, found by {@link java.util.ServiceLoader}
 * (both a {@code provides} in its module-info and a file in {@code META-INF/services}). It opens
 * {@link dev.weft.spi.BackendDevice}s, which make streams, memory and kernels.
 *
 * <p>Everything here is called with validated arguments only: shapes and types fit the spec,
 * tensors are open and belong to the device, written tensors overlap nothing they must not, the
 * workspace is large enough. Backends check nothing of that again. What they must guard against is
 * the content of device memory: an index read there may be anything, and must never cause an access
 * out of bounds.
 *
 * <p><b>Threading.</b> A {@code BackendDevice}, a kernel and a binding are used by many threads at
 * once. A {@code BackendStream} is used by one thread at a time (the api holds a lock), but by
 * different threads over time, virtual ones included, so backends bind a native context on every
 * entry.
 *
 * <p><b>Exceptions.</b> Backends throw {@link dev.weft.DeviceOutOfMemoryException}, {@link
 * dev.weft.DeviceException}, {@link dev.weft.DeviceLostException} and {@link
 * dev.weft.BackendUnavailableException}; anything else reaches the user wrapped in a {@link
 * dev.weft.ProviderException}. What a {@code close()} throws is told when the device is closed, as
 * things are released whenever the last launch that names them is done.
 *
 * <p><b>Growth.</b> New methods come as defaults; new options carry the SPI minor that introduced
 * them, and the api answers no for providers of an older minor.
 */
package dev.weft.spi;
