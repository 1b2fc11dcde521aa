#include "choose/policy.h"

#include "registry.h"

const char *reg_policy_name(reg_policy policy) { return traits_of(policy)->name; }
