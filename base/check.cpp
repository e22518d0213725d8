#include "base/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace mpath {

void check_failed(const char* condition, std::source_location where) noexcept {
  std::fprintf(stderr, "<2>%s:%u: CHECK(%s) failed in %s\n", where.file_name(), static_cast<unsigned>(where.line()),
               condition, where.function_name());
  std::abort();
}

}  // namespace mpath
