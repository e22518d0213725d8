// CHECK(condition): a bug stops the process, in release builds too. A daemon that cannot trust itself must not acknowledge.
#pragma once

#include <source_location>

namespace mpath {

// Prints file, line and the condition, then aborts; systemd restarts the daemon.
[[noreturn]] void check_failed(const char* condition, std::source_location where) noexcept;

}  // namespace mpath

#define CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::mpath::check_failed(#condition, std::source_location::current()))
