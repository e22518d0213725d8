#include "base/layout.hpp"

#include <cstdlib>

namespace mpath {

Layout make_layout(const std::filesystem::path& option) {
  if (!option.empty()) return Layout{std::filesystem::absolute(option)};
  if (const char* root = std::getenv("MPATHD_ROOT"); root != nullptr && *root != '\0') {
    return Layout{std::filesystem::absolute(root)};
  }
  return Layout{"/"};
}

}  // namespace mpath
