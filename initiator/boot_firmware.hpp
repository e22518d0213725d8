// What the firmware was told to boot from: the iSCSI Boot Firmware Table (iBFT), as the kernel's module iscsi_ibft shows it
// in /sys/firmware/ibft (Documentation/ABI/testing/sysfs-ibft).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "wire/scsi.hpp"

namespace mpath {

struct BootNic {
  unsigned index = 0;
  std::string mac;
  std::string address;      // numeric; empty: none
  std::string subnet_mask, gateway;  // empty: none
  unsigned vlan = 0;        // 0: none
};

struct BootTarget {
  unsigned index = 0;
  std::string name, address;
  std::uint16_t port = 3260;
  std::string lun;          // eight bytes in hexadecimal, without the zeroes in front of each
  unsigned nic = 0;         // BootNic::index
  std::string user, password;        // CHAP: who we are; empty: none
  std::string user_in, password_in;  // and who the target is, in mutual CHAP
};

struct BootFirmware {
  std::string initiator_name;
  std::vector<BootNic> nics;        // those that the firmware calls valid, by index
  std::vector<BootTarget> targets;  // the same
};

// Blocks. Fails with ENOENT where there is no such table, and with EPROTO when an entry of it makes no sense.
[[nodiscard]] Result<BootFirmware> read_boot_firmware(const std::filesystem::path& directory);

// One of the targets is this one, with this unit.
[[nodiscard]] bool boots_from(const BootFirmware& firmware, const std::string& target_name, scsi::Lun lun);

}  // namespace mpath
