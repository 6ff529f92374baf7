/**
 * A device that is the host itself: memory, streams, events, graphs and threads, shared by both CPU
 * backends.
 */
package dev.weft.backend.cpu.host;
