/** An open device: memory, streams, events, graphs. */
package dev.weft.backend.vulkan.device;
