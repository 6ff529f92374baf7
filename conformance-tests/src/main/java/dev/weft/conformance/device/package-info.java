/** The cases of the device contract: streams, events, graphs, memory, errors. */
package dev.weft.conformance.device;
