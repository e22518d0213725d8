// The virtual IP of the pair on this node, with the portals on it and whoever came to them.
//
//    serve:  listen (the address need not be there yet), then the address is put on and announced
//    hush:   whoever came to it hears nothing more, least of all that the unit is on its way to standby
//    rest:   listen no more, hush; when the other node is about to take it, wait until it has announced the address;
//    then
//            reset logins and connections, and take the address off: nobody waits in silence, and who comes again at
//            once finds the other node
//
// Threads:   the control thread.
// Order:     one change at a time; the last wish wins, what lies between may be left out.
// Errors:    logged, tried again every 2 s, and alarms until they are over: the pair serves over ALUA all the same.
// Ownership: everything in Doors is borrowed. Destroy after rest() has ended.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/event.hpp"
#include "base/log.hpp"
#include "ifaces/virtual_address.hpp"
#include "target/config/model.hpp"
#include "target/iscsi/ip_address.hpp"

namespace mpath::target::cluster {

class VirtualService {
 public:
  struct Doors {
    // With the portals on virtual addresses, or without them. An error is one line.
    std::function<std::expected<void, std::string>(bool with_virtual)> listen;
    std::function<void(const IpAddress&)> drop_logins;                               // Portals::drop_local()
    std::function<boost::asio::awaitable<void>(IpAddress)> mute_connections;         // Sessions::mute_local(), or none
    std::function<boost::asio::awaitable<std::size_t>(IpAddress)> drop_connections;  // Sessions::drop_local()
    std::function<bool()> may_serve;  // false: the role may have gone already (the lease is over)
  };
  VirtualService(boost::asio::any_io_executor control, Clock& clock, const std::vector<VirtualIp>& addresses,
                 Doors doors, const Log& log);
  ~VirtualService();

  // First thing at the start, before anything answers: what a killed life left behind goes.
  void clear();
  // Each ends when the last wish is fulfilled as far as it can be.
  [[nodiscard]] boost::asio::awaitable<void> serve() { return become(true, {}); }
  // `other_takes_it`: for how long to wait for that. None at shutdown, or when the other node is not there.
  [[nodiscard]] boost::asio::awaitable<void> rest(Duration other_takes_it = {}) {
    return become(false, other_takes_it);
  }
  // In a hand-over, before commands that were held back are judged anew; rest() or serve() must follow.
  [[nodiscard]] boost::asio::awaitable<void> hush();
  // After cables came back, say.
  void announce();

  [[nodiscard]] std::string text() const;  // "10.0.0.10/24 dev eth0, ..."; empty: none is configured
  [[nodiscard]] bool here() const { return serving_; }
  [[nodiscard]] std::vector<std::string> alarms() const;

 private:
  struct Moving;
  [[nodiscard]] boost::asio::awaitable<void> become(bool serving, Duration other_takes_it);
  void take();
  void put_on(Moving& moving);
  void try_again();
  [[nodiscard]] boost::asio::awaitable<void> leave(Duration other_takes_it);
  [[nodiscard]] boost::asio::awaitable<std::size_t> drop(const Moving& moving);
  void note(std::string& trouble, const std::expected<void, std::string>& done);

  // Constant after construction.
  Clock& clock_;
  Doors doors_;
  Log log_;

  std::vector<std::unique_ptr<Moving>> addresses_;
  std::string listen_trouble_;
  bool wanted_ = false;
  bool serving_ = false;
  bool hushed_ = false;  // some connections may be mute
  Event idle_;
  std::unique_ptr<Alarm> retry_;
};

}  // namespace mpath::target::cluster
