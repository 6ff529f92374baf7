/** The provider {@code cuda}. */
package dev.weft.backend.cuda;
