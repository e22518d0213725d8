// Counts operator new of the whole test program.
#pragma once

#include <cstdint>

namespace mpath::test {

[[nodiscard]] std::uint64_t allocations();

}  // namespace mpath::test
