// How much memory the test program holds at the moment, by what the allocator in force says.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MPATH_SANITIZED_MEMORY 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MPATH_SANITIZED_MEMORY 1
#endif
#endif

#ifdef MPATH_SANITIZED_MEMORY
#include <sanitizer/allocator_interface.h>
#else
#include <malloc.h>
#endif

namespace mpath::test {

[[nodiscard]] inline std::size_t live_memory() {
#ifdef MPATH_SANITIZED_MEMORY
  return __sanitizer_get_current_allocated_bytes();  // the sanitizer's malloc tells mallinfo() nothing
#else
  const auto info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
#endif
}

}  // namespace mpath::test
