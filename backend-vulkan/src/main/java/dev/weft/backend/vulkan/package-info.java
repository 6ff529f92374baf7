/** The provider {@code vulkan}. */
package dev.weft.backend.vulkan;
