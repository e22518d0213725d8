// The kernel's objects that make one TCMU disk, in configfs and sysfs:
//
//   target/core/user_N/NAME                     the backstore: a ring, a size   ── /dev/uioM
//   target/loopback/naa.X/tpgt_1/lun/lun_0      a SCSI host with one LUN on it  ── /dev/sdY
//
// NAME and X follow from the identity, and `dev_config` has it in full: so a backstore is known again after a restart.
// The HBA user_N is the disk's own, the lowest that is free.
//
// Threads: one call at a time, and off the event loops (offload()): the kernel asks the disk while it makes or removes the
//          LUN, so the ring must be served meanwhile.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace mpath {

class TcmuKernel {
 public:
  explicit TcmuKernel(const std::string& identity);

  // Modules, and configfs where it should be. ENODEV: the kernel has not got it.
  [[nodiscard]] error_code prepare();
  // Looks for the backstore of this identity. What was left half made is taken away.
  [[nodiscard]] Result<bool> find();
  // ENOSPC: no HBA is free.
  [[nodiscard]] error_code make_backstore(std::uint64_t size_bytes, std::uint32_t block_size);

  struct Opened {
    UniqueFd device;
    std::span<std::byte> memory;  // to be unmapped by the caller
  };
  // EBUSY: another process serves it, or did a moment ago; EAGAIN: it is not there yet.
  [[nodiscard]] Result<Opened> open_ring();
  // What a former process took is given back to the host, which sends it again (BUSY); or, by force, fails.
  [[nodiscard]] error_code reset_ring(bool fail);

  [[nodiscard]] error_code make_lun();  // unless it is there
  // Its name below /dev; EAGAIN: not there yet.
  [[nodiscard]] Result<std::string> disk() const;
  // What the host must not do by itself: give up a command because it takes long.
  [[nodiscard]] error_code set_patience(const std::string& disk) const;
  [[nodiscard]] error_code set_size(std::uint64_t size_bytes, const std::string& disk) const;
  [[nodiscard]] std::uint64_t size() const;  // as the backstore has it; 0: not known

  // From now on the host fails what it is asked, at once.
  [[nodiscard]] error_code set_offline(const std::string& disk) const;
  [[nodiscard]] error_code remove_lun();
  [[nodiscard]] error_code remove_backstore();

 private:
  [[nodiscard]] error_code configure(std::uint64_t size_bytes, std::uint32_t block_size) const;
  [[nodiscard]] std::string uio_name() const;
  [[nodiscard]] std::optional<std::string> uio() const;  // "uio3"
  [[nodiscard]] std::filesystem::path lun() const;

  // Constant after construction.
  std::string name_;    // of the backstore
  std::string config_;  // mpathd/IDENTITY
  std::string port_;    // naa.X
  std::string initiator_;

  std::filesystem::path backstore_;  // once found or made
};

}  // namespace mpath
