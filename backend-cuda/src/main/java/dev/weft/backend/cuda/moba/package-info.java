/** MoBA attention: host side of the kernels in src/main/cuda/moba. */
package dev.weft.backend.cuda.moba;
