// The listening sockets of the portals: a set that is changed as a whole or not at all.
//
// Threads:      the control thread.
// Cancellation: close() stops listening; connections that were accepted are not touched.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <expected>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/task_group.hpp"
#include "base/unique_fd.hpp"
#include "target/iscsi/portals.hpp"

namespace mpath::target {

class Listeners {
 public:
  // Given every connection that comes: non-blocking and close-on-exec.
  using Welcome = std::function<void(UniqueFd)>;

  Listeners(boost::asio::any_io_executor control, Clock& clock, const Log& log, Welcome welcome);
  ~Listeners();

  // As Portals::listen().
  [[nodiscard]] std::expected<void, std::string> listen(std::span<const Portal> portals);
  [[nodiscard]] std::vector<Portal> listening() const;
  [[nodiscard]] boost::asio::awaitable<void> close();

 private:
  struct Listener;
  using ListenerPtr = std::shared_ptr<Listener>;
  struct OpenError {
    int number = 0;
    std::string text;
  };
  [[nodiscard]] std::expected<ListenerPtr, OpenError> open(const Portal& portal) const;
  [[nodiscard]] boost::asio::awaitable<void> accept_loop(ListenerPtr listener);
  [[nodiscard]] int accept_some(Listener& listener);

  // Constant after construction.
  boost::asio::any_io_executor control_;
  Clock& clock_;
  Log log_;
  Welcome welcome_;

  std::vector<ListenerPtr> listeners_;
  TaskGroup tasks_;
};

}  // namespace mpath::target
