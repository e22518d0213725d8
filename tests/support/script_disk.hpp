// The logical unit behind the scripted target: a RAM disk that answers SCSI commands. Not thread-safe: its owner locks.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "wire/scsi_cdb.hpp"
#include "wire/scsi_data.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath::test {

struct DiskConfig {
  std::uint64_t lun = 0;
  std::uint64_t blocks = 32768;
  std::uint32_t block_bytes = 512;
  std::string naa = "60014051000000000000000000000001";  // page 83h, hexadecimal
  std::string serial = "SCRIPT0001";
  bool thin = true;
  bool write_cache = true;
  bool write_protected = false;
  std::uint32_t transfer_blocks_max = 0;  // page B0h; 0: no limit said
  std::uint16_t port_group = 1;
  scsi::AccessState access = scsi::AccessState::optimized;
  std::uint8_t tpgs = 0;
};

struct ScsiAnswer {
  scsi::Status status = scsi::Status::good;
  std::optional<scsi::SenseData> sense;
  std::vector<std::byte> data;
};

class ScriptDisk {
 public:
  explicit ScriptDisk(DiskConfig config);

  DiskConfig config;  // may be changed between commands

  // How many bytes of data-out the command takes; 0 for those that take none.
  [[nodiscard]] std::size_t data_out_bytes(const scsi::Command& command) const;
  [[nodiscard]] ScsiAnswer execute(const scsi::Command& command, std::span<const std::byte> data_out,
                                   std::span<const scsi::Lun> luns);
  // A LUN that is not there answers these.
  [[nodiscard]] static ScsiAnswer execute_absent(const scsi::Command& command, std::span<const scsi::Lun> luns);

  [[nodiscard]] std::vector<std::byte> read(std::uint64_t offset, std::size_t length) const;
  [[nodiscard]] bool mapped(std::uint64_t block) const { return mapped_[block]; }
  void resize(std::uint64_t blocks);

 private:
  [[nodiscard]] bool in_range(std::uint64_t lba, std::uint64_t blocks) const;
  [[nodiscard]] std::span<std::byte> place(std::uint64_t lba, std::uint64_t blocks);
  void unmap(std::uint64_t lba, std::uint64_t blocks);
  [[nodiscard]] ScsiAnswer inquiry(const scsi::Inquiry& command) const;
  [[nodiscard]] ScsiAnswer write(const scsi::Write& command, std::span<const std::byte> data);
  [[nodiscard]] ScsiAnswer write_same(const scsi::WriteSame& command, std::span<const std::byte> data);
  [[nodiscard]] ScsiAnswer unmap_list(std::span<const std::byte> data);
  [[nodiscard]] ScsiAnswer lba_status(const scsi::GetLbaStatus& command) const;

  std::vector<std::byte> bytes_;
  std::vector<bool> mapped_;
};

[[nodiscard]] ScsiAnswer check_condition(const scsi::Sense& sense);

}  // namespace mpath::test
