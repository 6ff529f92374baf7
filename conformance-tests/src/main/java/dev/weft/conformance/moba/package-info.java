/** The cases of MoBA attention. */
package dev.weft.conformance.moba;
