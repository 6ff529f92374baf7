/** Devices, streams, events, graphs and memory over the driver API. */
package dev.weft.backend.cuda.device;
