#include "base/boot_id.hpp"

#include "base/atomic_file.hpp"

namespace mpath {

std::string read_boot_id() {
  constexpr std::size_t bytes_max = 4096;
  const auto text = read_file("/proc/sys/kernel/random/boot_id", bytes_max);
  if (!text) return {};
  return text->substr(0, text->find_first_of(" \r\n"));
}

}  // namespace mpath
