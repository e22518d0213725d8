// A block device offered as a disk of the kernel: /dev/nbdN, /dev/sdX (TCMU) or /dev/ublkbN.
//
//   attach() ── the kernel has a disk of this identity? ── no ──► made
//                                                        yes ──► taken over: a former process left it behind, killed or in order
//   leave()  ── what was taken is finished and answered; the kernel keeps the disk and holds new requests back for the next process
//   detach() ── the disk goes
//
// Threads:   all members on the control thread; implementations post to the device's shard and come home.
// Ownership: everything in the setup is borrowed. Destroy after detach() or leave() is through.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/block_device.hpp"
#include "base/log.hpp"
#include "base/result.hpp"
#include "base/shard.hpp"

namespace mpath {

struct KernelDiskSetup {
  boost::asio::io_context& control;
  boost::asio::thread_pool& blocking;  // for writes to sysfs and configfs, which may take their time
  BlockDevice& device;                 // lives on `shard`
  Shard& shard;
  std::string identity;                // the map's WWID: by it the kernel's entry is known again
  std::string name;                    // the map's, for people
  Log log;
  // How long the kernel waits for a process that is gone before it fails I/O, where it can be told (nbd): the others wait.
  std::chrono::seconds absence_limit{600};
  // The device is gone for good in the kernel without our doing (an administrator disconnected it). May be empty.
  std::function<void(const std::string& why)> on_lost;
};

class KernelDisk {
 public:
  KernelDisk() = default;
  KernelDisk(const KernelDisk&) = delete;
  KernelDisk& operator=(const KernelDisk&) = delete;
  virtual ~KernelDisk() = default;

  // Makes the disk, or takes over the one of this identity. Yields its name below /dev, as soon as it takes requests.
  // Fails with ENODEV (the kernel has no such module, or not this process), EPERM, or what the kernel said.
  [[nodiscard]] virtual boost::asio::awaitable<Result<std::string>> attach() = 0;
  // Takes the disk away. EBUSY while somebody uses it (mounted, part of another device, open), unless
  // `force`.
  [[nodiscard]] virtual boost::asio::awaitable<error_code> detach(bool force) = 0;
  [[nodiscard]] virtual boost::asio::awaitable<void> leave() = 0;
};

}  // namespace mpath
