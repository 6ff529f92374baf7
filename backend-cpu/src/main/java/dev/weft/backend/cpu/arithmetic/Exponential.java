package dev.weft.backend.cpu.arithmetic;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * The exponential of vectors: e^x = 2^n e^r with n the integer next to x / ln 2, so that |r| is at
 * most ln 2 / 2, and e^r by the polynomial of {@link ScalarExponential}.
 */
final class Exponential {
  private static final VectorSpecies<Float> FLOATS = FloatVector.SPECIES_PREFERRED;
  // Adding it rounds to an integer, which then stands in the low bits.
  private static final float ROUND = 0x1.8p23f;

  private Exponential() {}

  /** For all numbers; underflow is gradual. */
  static FloatVector of(FloatVector x) {
    // Beyond these bounds it is 0 or infinite in any case. Compared so that NaN stays.
    FloatVector y = x.blend(-105, x.compare(VectorOperators.LT, -105));
    y = y.blend(90, y.compare(VectorOperators.GT, 90));
    FloatVector shifted =
        y.fma(
            FloatVector.broadcast(FLOATS, ScalarExponential.LOG2_E),
            FloatVector.broadcast(FLOATS, ROUND));
    FloatVector n = shifted.sub(ROUND);
    FloatVector p = ofRest(y, n);
    // 2^n may be beyond a float where 2^n p is not: in two factors.
    IntVector whole = shifted.reinterpretAsInts().sub(Float.floatToRawIntBits(ROUND));
    IntVector half = whole.lanewise(VectorOperators.ASHR, 1);
    FloatVector first = powerOfTwo(half);
    FloatVector second = powerOfTwo(whole.sub(half));
    return p.mul(first).mul(second);
  }

  /** For numbers of at most 88; what is below 2^-126 becomes 0. */
  static FloatVector ofModerate(FloatVector x) {
    FloatVector shifted =
        x.fma(
            FloatVector.broadcast(FLOATS, ScalarExponential.LOG2_E),
            FloatVector.broadcast(FLOATS, ROUND));
    FloatVector p = ofRest(x, shifted.sub(ROUND));
    FloatVector power =
        powerOfTwo(shifted.reinterpretAsInts()); // the magic number's own bits are shifted out
    VectorMask<Float> vanishes = x.compare(VectorOperators.LT, -87);
    return p.mul(power).blend(0, vanishes);
  }

  /**
   * 1 + e^-x: what {@link #of(FloatVector)} gives of -x, plus 1, bit for bit, in fewer steps. What
   * is added to 1 may vanish early; and 2^n p is 2^(n-1) 2p, whose first factor is a float up to
   * where the sum is infinite.
   */
  static FloatVector onePlusOfMinus(FloatVector x) {
    FloatVector y = x.blend(-89, x.compare(VectorOperators.LT, -89));
    y = y.blend(86, y.compare(VectorOperators.GT, 86));
    FloatVector shifted =
        y.fma(
            FloatVector.broadcast(FLOATS, -ScalarExponential.LOG2_E),
            FloatVector.broadcast(FLOATS, ROUND));
    FloatVector n = shifted.sub(ROUND);
    // Minus the rest, so that odd coefficients change their signs.
    FloatVector r = n.fma(FloatVector.broadcast(FLOATS, ScalarExponential.LN2_HIGH), y);
    r = n.fma(FloatVector.broadcast(FLOATS, ScalarExponential.LN2_LOW), r);
    FloatVector p = FloatVector.broadcast(FLOATS, 2 * ScalarExponential.C6);
    p = p.fma(r, FloatVector.broadcast(FLOATS, -2 * ScalarExponential.C5));
    p = p.fma(r, FloatVector.broadcast(FLOATS, 2 * ScalarExponential.C4));
    p = p.fma(r, FloatVector.broadcast(FLOATS, -2 * ScalarExponential.C3));
    p = p.fma(r, FloatVector.broadcast(FLOATS, 2 * ScalarExponential.C2));
    p = p.fma(r, FloatVector.broadcast(FLOATS, -2));
    p = p.fma(r, FloatVector.broadcast(FLOATS, 2));
    FloatVector power =
        shifted
            .reinterpretAsInts()
            .lanewise(VectorOperators.LSHL, 23)
            .add(0x3f000000)
            .reinterpretAsFloats();
    return p.fma(power, FloatVector.broadcast(FLOATS, 1));
  }

  private static FloatVector powerOfTwo(IntVector n) {
    return n.lanewise(VectorOperators.LSHL, 23).add(0x3f800000).reinterpretAsFloats();
  }

  private static FloatVector ofRest(FloatVector x, FloatVector n) {
    FloatVector r = n.fma(FloatVector.broadcast(FLOATS, -ScalarExponential.LN2_HIGH), x);
    r = n.fma(FloatVector.broadcast(FLOATS, -ScalarExponential.LN2_LOW), r);
    FloatVector p = FloatVector.broadcast(FLOATS, ScalarExponential.C6);
    p = p.fma(r, FloatVector.broadcast(FLOATS, ScalarExponential.C5));
    p = p.fma(r, FloatVector.broadcast(FLOATS, ScalarExponential.C4));
    p = p.fma(r, FloatVector.broadcast(FLOATS, ScalarExponential.C3));
    p = p.fma(r, FloatVector.broadcast(FLOATS, ScalarExponential.C2));
    p = p.fma(r, FloatVector.broadcast(FLOATS, 1));
    return p.fma(r, FloatVector.broadcast(FLOATS, 1));
  }

  /** For one number what {@link #of(FloatVector)} gives, bit for bit: the ends of rows take it. */
  static float of(float x) {
    float y = x < -105 ? -105 : x > 90 ? 90 : x;
    float shifted = Math.fma(y, ScalarExponential.LOG2_E, ROUND);
    float n = shifted - ROUND;
    float r = Math.fma(n, -ScalarExponential.LN2_HIGH, y);
    r = Math.fma(n, -ScalarExponential.LN2_LOW, r);
    float p = ScalarExponential.C6;
    p = Math.fma(p, r, ScalarExponential.C5);
    p = Math.fma(p, r, ScalarExponential.C4);
    p = Math.fma(p, r, ScalarExponential.C3);
    p = Math.fma(p, r, ScalarExponential.C2);
    p = Math.fma(p, r, 1);
    p = Math.fma(p, r, 1);
    int whole = Float.floatToRawIntBits(shifted) - Float.floatToRawIntBits(ROUND);
    int half = whole >> 1;
    return p * powerOfTwo(half) * powerOfTwo(whole - half);
  }

  private static float powerOfTwo(int n) {
    return Float.intBitsToFloat((n << 23) + 0x3f800000);
  }
}
