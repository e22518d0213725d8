// Waiting for a time, in a coroutine, on whatever clock was handed in.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "base/clock.hpp"

namespace mpath {

// Resumes at `at` (from the loop, even when that is past) with false, or with true when the coroutine was cancelled while
// it slept. The clock must belong to the coroutine's loop.
[[nodiscard]] boost::asio::awaitable<bool> sleep_until(Clock& clock, TimePoint at);
[[nodiscard]] boost::asio::awaitable<bool> sleep_for(Clock& clock, Duration duration);

}  // namespace mpath
