// What lies between an expert's projections, f(gate, up), with its derivatives, in F32. Each value is good to a few
// ulp of the terms that it is a sum of; sigmoid(-g) is computed by itself rather than as 1 - sigmoid(g).
#pragma once
#include "experts.cuh"

namespace weft {
namespace moe_backward {

struct ActivationArguments {
  int kind;            // an ExpertActivation
  float alpha, limit;  // of kSwigluClamped
  int unused;
};

struct ActivationValue {
  float value, byGate, byUp;
};

__device__ __forceinline__ ActivationValue activation(const ActivationArguments& a, float g, float u) {
  float gate, slope, factor = u;  // value = gate * factor
  switch (a.kind) {
    case kSwiglu: {
      float s = sigmoidOf(g);
      gate = g * s;
      slope = s + gate * sigmoidOf(-g);
      break;
    }
    case kGeglu: {
      float cdf = normcdff(g);
      gate = g * cdf;
      slope = cdf + g * (expf(-0.5f * g * g) * 0.3989422804014327f);
      break;
    }
    case kGegluTanh: {  // (1 + tanh y) / 2 is sigmoid(2 y)
      float y = 1.5957691216057308f * (g + 0.044715f * g * g * g);
      float s = sigmoidOf(y);
      gate = g * s;
      slope = s + gate * sigmoidOf(-y) * (1.5957691216057308f * (1 + 0.134145f * g * g));
      break;
    }
    case kSwigluClamped: {
      float clamped = g > a.limit ? a.limit : g;  // NaN stays NaN
      float s = sigmoidOf(a.alpha * clamped);
      gate = clamped * s;
      slope = g <= a.limit ? s + a.alpha * gate * sigmoidOf(-a.alpha * g) : 0;
      factor = (u > a.limit ? a.limit : u < -a.limit ? -a.limit : u) + 1;
      return {gate * factor, slope * factor, fabsf(u) <= a.limit ? gate : 0};
    }
    default: {
      float positive = u < 0 ? 0 : u;
      return {positive * positive, 0, 2 * positive};
    }
  }
  return {gate * factor, slope * factor, gate};
}

}  // namespace moe_backward
}  // namespace weft
