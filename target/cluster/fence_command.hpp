// The handler that switches the peer off: a command of the administrator's, believed only when it says so.
//
// Threads:      the coroutine's loop; the child is looked at, never waited for.
// Environment:  that of the daemon, and MPTARGET_CLUSTER, MPTARGET_SELF (a or b), MPTARGET_PEER (b or a) and
//               MPTARGET_PEER_ADDRESSES, with blanks between. Its output goes to the daemon's standard error.
// Cancellation: ends the handler; what it may have done is not known then.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <expected>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "wire/replication.hpp"

namespace mpath::target::cluster {

struct FenceOptions {
  std::vector<std::string> command;  // a program, found by PATH, and its arguments
  Duration timeout = std::chrono::seconds(10);
};

struct FenceSubject {
  std::string cluster;
  mpath::replication::Member self = mpath::replication::Member::a;
  std::vector<std::string> peer_addresses;
};

// Ends with a value only when the command exited with 0 within its time: the peer is off. Otherwise a line why that
// cannot be said. After its time, and as soon as `wanted` says no, the command and all of its process group are killed.
[[nodiscard]] boost::asio::awaitable<std::expected<void, std::string>> run_fence_command(
    Clock& clock, FenceOptions options, FenceSubject subject, std::function<bool()> wanted);

}  // namespace mpath::target::cluster
