package dev.weft.backend.opencl.programs;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

/** Which builds are tried again: those that failed for no fault of the program. */
class BuildFailureTest {
  @Test
  void aCompilerWhoseTemporaryFileIsGoneIsAskedAgain() {
    assertTrue(
        Programs.lostItsFile(
            "error: <invalid loc>: unable to rename temporary 'tempfile_x.preproc-1.cl.tmp' to"
                + " output file 'tempfile_x.preproc.cl': 'No such file or directory'\n"));
  }

  @Test
  void anErrorOfTheProgramIsFinal() {
    assertFalse(Programs.lostItsFile("error: use of undeclared identifier 'no_such_name'\n"));
    assertFalse(Programs.lostItsFile(""));
  }
}
