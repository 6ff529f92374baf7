/** Devices, streams, events, graphs and memory over OpenCL. */
package dev.weft.backend.opencl.device;
