// Which instruction-set tier this machine, its operating system and TREE_ATTENTION_MAX_ISA allow.
#pragma once

#include "tree_attention.h"

namespace ta {

// Best tier by CPUID and XGETBV, whatever the environment says.
ta_isa best_isa();

// The same, capped by TREE_ATTENTION_MAX_ISA (generic, avx2, avx512); read once.
ta_isa active_isa();

}  // namespace ta
