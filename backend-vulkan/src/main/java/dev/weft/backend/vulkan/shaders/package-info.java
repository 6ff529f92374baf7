/** The shaders that the build compiled, and the pipelines made of them. */
package dev.weft.backend.vulkan.shaders;
