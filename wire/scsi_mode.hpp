// Mode parameters: header, block descriptors and pages, of MODE SENSE and MODE SELECT, both lengths (SPC-4 7.5, SBC-3
// 6.4).
//
// Pure. Pages are bodies of bytes here: what is in them is the business of whoever owns the values.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "wire/scsi_data.hpp"

namespace mpath::scsi {

struct ModeBlockDescriptor {
  std::uint64_t blocks = 0;
  std::uint32_t block_bytes = 0;
  friend bool operator==(const ModeBlockDescriptor&, const ModeBlockDescriptor&) = default;
};

struct ModePage {
  std::uint8_t page = 0;
  std::uint8_t subpage = 0;  // not 0: the page has the long header
  bool savable = false;      // PS
  Bytes body;                // behind the page's own header
  std::size_t at = 0;        // decoded: where its first byte stood in the list
  friend bool operator==(const ModePage&, const ModePage&) = default;
};

struct ModeParameters {
  bool write_protected = false;  // of MODE SENSE; reserved in MODE SELECT
  bool dpo_fua = false;
  bool long_lba = false;  // block descriptors of 16 bytes; the long header only
  std::vector<ModeBlockDescriptor> blocks;
  std::vector<ModePage> pages;
  friend bool operator==(const ModeParameters&, const ModeParameters&) = default;
};

// The header's length field says how much there is; it is zero in a list for MODE SELECT, where it is reserved.
[[nodiscard]] Bytes encode_mode_parameters(const ModeParameters& parameters, bool short_form);
// Fails with truncated when header, descriptors or a page are cut off, bad_length when the descriptors are no whole
// ones.
[[nodiscard]] Result<ModeParameters> decode_mode_parameters(std::span<const std::byte> list, bool short_form);

}  // namespace mpath::scsi
