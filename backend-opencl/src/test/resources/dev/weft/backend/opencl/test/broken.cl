// For tests: does not compile.
#include "square.clh"
__kernel void broken(__global uchar *x, const ulong x_at) { x[x_at] = no_such_name; }
