// The null target: one thread, one epoll, every initiator's bytes answered in batches: all that came in one receive
// leaves in one send.
//
// Threads: one; run() is called once.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "bench/null_target_session.hpp"

namespace mpath::bench {

class NullTarget {
 public:
  // Listens at once. Throws std::system_error. `disk` is borrowed.
  NullTarget(const NullDisk& disk, const std::string& address, std::uint16_t port);
  ~NullTarget();
  NullTarget(const NullTarget&) = delete;
  NullTarget& operator=(const NullTarget&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  // Serves until SIGTERM or SIGINT, which the caller has blocked.
  void run();

 private:
  struct Connection {
    int fd;
    NullSession session;
    std::vector<std::byte> staging;
    std::size_t begin = 0;  // staged bytes that were not taken yet
    std::size_t end = 0;
    bool waits_to_send = false;
  };

  void accept_all();
  // False when the connection is over.
  [[nodiscard]] bool receive(Connection& connection);
  [[nodiscard]] bool answer(Connection& connection);
  void watch(Connection& connection, bool to_send);
  void drop(Connection* connection);

  const NullDisk& disk_;
  int epoll_fd_ = -1;
  int listen_fd_ = -1;
  int signal_fd_ = -1;
  std::uint16_t port_ = 0;
  std::list<Connection> connections_;
};

}  // namespace mpath::bench
