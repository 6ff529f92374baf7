/** Vulkan itself: loading it, its devices, its codes, and what its validation layer says. */
package dev.weft.backend.vulkan.driver;
