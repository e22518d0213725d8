// Whether others can reach this machine at any of some addresses, as far as its own network cards know: an address
// counts when it is on a device that is up and whose cable is in. A node whose service cables are all out can hand its
// role over, though its links to the other node are well.
//
//    carrier lost on the last of them ── for `settle` ──► on_change(false)
//    carrier on any of them ───────── at once ──────────► on_change(true)
//
// Addresses that no device has count as out of reach, but for 0.0.0.0 and :: (and an empty list), which are always
// reachable: nobody said which device matters.
//
// Threads:   all members and on_change on the thread of `context`; never called from within start().
// Ownership: `context` and `clock` are borrowed.
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "ifaces/link_monitor.hpp"

namespace mpath {

struct AddressReachOptions {
  std::vector<std::string> addresses;     // numeric
  std::chrono::milliseconds settle{300};  // a cable that is out for less is no loss
  std::function<void(bool)> on_change;
};

class AddressReach final : private LinkListener {
 public:
  AddressReach(boost::asio::io_context& context, Clock& clock, AddressReachOptions options);
  ~AddressReach() override;

  // Fails with what the kernel said; then they count as reachable.
  [[nodiscard]] error_code start();
  void stop();
  // As last told; true before the first time.
  [[nodiscard]] bool reachable() const { return reachable_; }

 private:
  void on_link(const LinkEvent& event) override;
  [[nodiscard]] bool any_cable_in() const;
  void become(bool reachable);

  AddressReachOptions options_;
  Clock& clock_;
  LinkMonitor monitor_;
  std::unique_ptr<Alarm> alarm_;
  bool watching_ = false;
  bool doubtful_ = false;  // out of reach, for less than `settle`
  bool reachable_ = true;
};

}  // namespace mpath
