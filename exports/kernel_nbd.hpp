// The kernel's NBD client, told what to do by generic netlink (family "nbd", linux/nbd-netlink.h).
//
// Threads: any; every call has a netlink socket of its own, and blocks: call through offload().
// Errors:  ENODEV: there is no such family (module nbd); EPERM: CAP_SYS_ADMIN is wanted; else what the kernel said.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"

namespace mpath::kernel_nbd {

struct Connection {
  int socket = -1;                    // past the handshake; the kernel takes a reference of its own
  std::uint64_t size_bytes = 0;
  std::uint32_t block_size = 512;     // at most a page
  std::uint16_t flags = 0;            // transmission flags, as the handshake would tell them
  std::string identity;               // shown as /sys/block/nbdN/backend; whoever reconfigures must repeat it
  std::chrono::seconds absence_limit{0};  // without a socket for so long, requests fail
};

// Makes a device of a free index and yields the index. No request is ever given up for its age: while there is one
// socket, the kernel only looks, at its io_timeout, whether a request went to a socket that is dead.
[[nodiscard]] Result<unsigned> connect(const Connection& connection);
// Gives the device a socket in the place of its dead one; it keeps its size. ENOSPC: no socket of it is dead (yet).
[[nodiscard]] error_code reconnect(unsigned index, const Connection& connection);
// Waits for what is under way, on newer kernels: there has to be a socket, and somebody who answers.
[[nodiscard]] error_code resize(unsigned index, const std::string& identity, std::uint64_t size_bytes);
[[nodiscard]] error_code disconnect(unsigned index);

// The device that was made for this identity, alive or waiting for a process.
[[nodiscard]] std::optional<unsigned> find(const std::string& identity);

}  // namespace mpath::kernel_nbd
