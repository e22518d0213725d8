// The NBD server: listening sockets and handshakes on the control thread, transmission on the shard of each device.
//
//   listener ─► accept ─► handshake, bounded in time ─► the socket moves to the device's shard ─► NbdExport
//
// Sockets:   one unix socket per export, `directory`/NAME.sock, there while the export is; TCP listeners and adopted
// ones
//            offer every export by name, and the only one by the empty name.
// Threads:   all members, and every callback, on the control thread.
// Ownership: control context, clock, shards and devices are borrowed. A device is in use until remove_export() called
// back.
//            Destroy the server after close(), or when its control context will not run again.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/block_device.hpp"
#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/result.hpp"
#include "base/shard.hpp"
#include "base/unique_fd.hpp"
#include "exports/nbd_export.hpp"
#include "exports/nbd_handshake.hpp"

namespace mpath {

struct NbdServerOptions {
  std::filesystem::path directory;  // of the exports' own sockets; empty: none are made
  std::filesystem::perms socket_mode = std::filesystem::perms::owner_read | std::filesystem::perms::owner_write;
  std::chrono::milliseconds handshake_limit{nbd::limits::handshake_time};
  std::uint32_t half_open_max =
      nbd::limits::handshakes_max;  // handshakes at a time; one more, and the oldest is cut off
  std::uint32_t connections_max = nbd::limits::connections_max;  // per export
  NbdHandshakeLimits handshake;
  NbdExportLimits exports;
  std::function<void()> on_idle;  // the last client is gone
};

struct NbdExportStatus {
  std::string name;
  std::filesystem::path socket;  // empty when it has none of its own
  bool ready = false;            // its limits are known and it is offered
  BlockLimits limits;
  std::uint32_t connections = 0;
  NbdCounters ended;  // summed up over connections that have ended
};

class NbdServer {
 public:
  NbdServer(boost::asio::io_context& control, Clock& clock, const Log& log, NbdServerOptions options);
  ~NbdServer();
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;

  // Offers `device`, which lives on `shard`. Its socket exists on return; clients are answered as soon as the shard has
  // told the device's limits, which `ready` (may be empty) reports. Fails with EEXIST (the name is taken), EINVAL (no
  // file name: empty, or with a slash), or what making the socket said.
  [[nodiscard]] error_code add_export(const std::string& name, BlockDevice& device, Shard& shard,
                                      std::function<void()> ready = {});
  // Withdraws an export: its socket goes at once, its clients are drained, then `removed` is called. False: no such
  // export.
  bool remove_export(const std::string& name, std::function<void()> removed);

  // Every export by name, on TCP. Yields the port (of use when 0 was asked for).
  [[nodiscard]] Result<std::uint16_t> listen_tcp(const std::string& address, std::uint16_t port);
  // The same at a unix socket.
  [[nodiscard]] error_code listen_unix_socket(const std::filesystem::path& path);
  // Takes over a socket from the service manager or a parent: a listening one, or one connected client. `only` limits
  // it to one export. Fails with EINVAL when it is no stream socket.
  [[nodiscard]] error_code adopt(UniqueFd socket, const std::string& only = {});

  // Ends all handshakes and exports; the sockets' files are gone and no device is in use when it returns.
  [[nodiscard]] boost::asio::awaitable<void> close();

  [[nodiscard]] std::vector<NbdExportStatus> exports() const;
  [[nodiscard]] std::uint32_t half_open() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;  // shared with what shards post back
};

}  // namespace mpath
