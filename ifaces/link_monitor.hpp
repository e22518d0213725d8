// Tells at once what happens to the machine's network devices: carrier, addresses, hot plug, names.
//
// Sources:  rtnetlink notifications; udev's net events where udevd runs (its renames are then read again). When the
//           kernel had to drop notifications, everything is read anew and the differences are told: no state is missed.
// Threads:  all members and the listener run on the thread of `context`.
// Ownership: `context` and `listener` are borrowed and must outlive the monitor. Nothing is told once it is destroyed.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "ifaces/nic.hpp"

namespace mpath {

struct LinkState {
  bool present = false;      // a device of that name is there
  bool carrier = false;      // administratively up, and the cable too
  bool has_address = false;  // usable and not link-local
  friend bool operator==(const LinkState&, const LinkState&) = default;
};

struct LinkEvent {
  enum class Cause : std::uint8_t {
    initial,  // told once for every device after start()
    changed,  // a notification
    renamed,  // the old name is told as not present, then the new one
    resync,   // found by reading anew after a loss
  };
  std::string net_ifacename;
  unsigned index = 0;  // another index under the same name is another device
  LinkState state;
  Cause cause = Cause::changed;
};

// "changed", as a log line says it.
[[nodiscard]] std::string_view name_of(LinkEvent::Cause cause);

class LinkListener {
 public:
  virtual ~LinkListener() = default;
  // Never called from within start(). May stop or destroy the monitor.
  virtual void on_link(const LinkEvent& event) = 0;
};

class LinkMonitor {
 public:
  struct Options {
    int receive_buffer_bytes = 4 << 20;  // capped by net.core.rmem_max
  };

  LinkMonitor(boost::asio::io_context& context, LinkListener& listener);
  LinkMonitor(boost::asio::io_context& context, LinkListener& listener, Options options);
  ~LinkMonitor();
  LinkMonitor(const LinkMonitor&) = delete;
  LinkMonitor& operator=(const LinkMonitor&) = delete;

  // Subscribes and reads the present state: afterwards link_state() answers, and the listener is told of every device.
  // Fails with what the kernel said; then nothing is watched. Call once.
  [[nodiscard]] error_code start();
  void stop();

  // As last heard; a device that is not there is not present.
  [[nodiscard]] LinkState link_state(const std::string& net_ifacename) const;
  [[nodiscard]] std::vector<Nic> nics() const;

  // How often notifications were lost and everything was read anew.
  [[nodiscard]] unsigned resyncs() const;

 private:
  class Watch;
  std::shared_ptr<Watch> watch_;
};

}  // namespace mpath
