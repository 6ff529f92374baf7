// The types of cooperative matrices, 16 x 16 x 16 with float sums, of a wave: those of VK_KHR_cooperative_matrix for TYPE
// (1 or 2).
#ifndef WEFT_UNIT_TYPES
#define WEFT_UNIT_TYPES

#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#pragma use_vulkan_memory_model

#if TYPE == 2
#extension GL_EXT_bfloat16 : require
#define UNIT_VALUE bfloat16_t
#else
#define UNIT_VALUE float16_t
#endif
#define UNIT_A coopmat<UNIT_VALUE, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA>
#define UNIT_B coopmat<UNIT_VALUE, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB>
#define UNIT_SUMS coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>
#define BY_ROWS gl_CooperativeMatrixLayoutRowMajor
#define BY_COLUMNS gl_CooperativeMatrixLayoutColumnMajor

#endif
