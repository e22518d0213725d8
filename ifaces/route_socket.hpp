// A non-blocking rtnetlink socket: dumps into a LinkTable and, when it listens, notifications.
//
// Threads: one.
// Errors:  errno values. ENOBUFS means that notifications were lost: only a new dump knows the state.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.hpp"
#include "ifaces/link_table.hpp"

struct nl_sock;

namespace mpath {

class RouteSocket {
 public:
  struct Options {
    bool listen = false;           // to changes of links and addresses
    int receive_buffer_bytes = 0;  // 0: the system's
  };
  [[nodiscard]] static Result<RouteSocket> open(const Options& options);

  [[nodiscard]] int fd() const;

  // Reads all links, then all addresses into the table, and what notifications come in between. Blocks for the moment
  // the kernel takes; a dump that was disturbed is done again a few times. Fails with EAGAIN when it never held still.
  [[nodiscard]] error_code dump(LinkTable& table);

  // Takes in what waits, calling `changed(index)` after every message that said something. EAGAIN: nothing more.
  [[nodiscard]] error_code drain(LinkTable& table, const std::function<void(unsigned)>& changed);

  // On a socket that does not listen. Puts the address on the device for so long (0: for good); one that is there is no
  // error and gets that time anew. IPv6: without duplicate address detection, and never chosen as a source by itself.
  [[nodiscard]] error_code add_address(unsigned index, const NicAddress& address, std::chrono::seconds lifetime);
  // Takes it off; one that is not there is no error.
  [[nodiscard]] error_code remove_address(unsigned index, const NicAddress& address);

 private:
  struct Free {
    void operator()(nl_sock* socket) const;
  };
  enum class DumpEnd : std::uint8_t { done, disturbed };

  [[nodiscard]] Result<DumpEnd> dump_once(LinkTable& table, int type);
  [[nodiscard]] error_code change_address(int type, unsigned index, const NicAddress& address, std::uint32_t seconds);
  [[nodiscard]] error_code acknowledged();      // the last request
  [[nodiscard]] Result<std::size_t> receive();  // into buffer_; from the kernel only

  std::unique_ptr<nl_sock, Free> socket_;
  std::vector<char> buffer_;
  unsigned sequence_ = 0;
};

}  // namespace mpath
