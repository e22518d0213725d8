// Counts the allocations of the whole test program: operator new, and under a sanitizer malloc as well. A program that
// asks compiles allocation_counter.cpp into itself.
#pragma once

#include <cstdint>

namespace mpath::test {

[[nodiscard]] std::uint64_t allocations();

}  // namespace mpath::test
