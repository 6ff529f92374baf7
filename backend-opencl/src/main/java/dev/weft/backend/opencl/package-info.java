/** The provider {@code opencl}. */
package dev.weft.backend.opencl;
