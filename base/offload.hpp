// Blocking work away from the event loops: sqlite, getaddrinfo, fsync.
//
// Threads: `work` runs on a thread of the pool; the coroutine resumes on its own executor.
// Ending:  the wait is not cancelled, because `work` may use what the coroutine owns. Join the pool before the coroutine's
//          context is destroyed.
#pragma once

#include <boost/asio/thread_pool.hpp>

#include "base/run_on.hpp"

namespace mpath {

// The value of work(). An exception of work() is thrown to the awaiting coroutine.
template <typename Work>
[[nodiscard]] boost::asio::awaitable<std::invoke_result_t<Work&>> offload(boost::asio::thread_pool& pool, Work work) {
  return run_elsewhere(pool.get_executor(), std::move(work));
}

}  // namespace mpath
