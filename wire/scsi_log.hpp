// Log pages: the header, its parameters, and what the pages of this project say (SPC-4 7.3, SBC-3 6.4). Pure, both
// directions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "wire/scsi.hpp"
#include "wire/scsi_data.hpp"

namespace mpath::scsi {

inline constexpr std::uint8_t log_page_supported = 0x00;
inline constexpr std::uint8_t log_page_provisioning = 0x0c;
inline constexpr std::uint8_t log_page_temperature = 0x0d;
inline constexpr std::uint8_t log_page_informational_exceptions = 0x2f;
inline constexpr std::uint8_t log_subpage_all = 0xff;

struct LogParameter {
  std::uint16_t code = 0;
  std::uint8_t control = 0x03;  // binary format list
  Bytes value;
  friend bool operator==(const LogParameter&, const LogParameter&) = default;
};
struct LogPage {
  std::uint8_t page = 0;
  std::optional<std::uint8_t> subpage;  // SPF
  std::vector<LogParameter> parameters;
  friend bool operator==(const LogPage&, const LogPage&) = default;
};
// Fails with truncated when the page or one of its parameters ends before its length says.
[[nodiscard]] Result<LogPage> decode_log_page(std::span<const std::byte> data);
[[nodiscard]] Bytes encode_log_page(const LogPage& page);

// Page 00h; with `subpages` its subpage FFh, which pairs each page with its subpages.
struct LogPageCode {
  std::uint8_t page = 0;
  std::uint8_t subpage = 0;
};
[[nodiscard]] Bytes encode_log_pages(std::span<const LogPageCode> pages, bool subpages);
// One page's list of its subpages: PAGE/FFh.
[[nodiscard]] Bytes encode_log_subpages(std::uint8_t page, std::span<const std::uint8_t> subpages);

// Page 0Ch: counts of threshold sets, which are of 2^threshold_exponent blocks.
struct ProvisioningCounts {
  std::uint32_t available = 0;
  std::uint32_t used = 0;
};
[[nodiscard]] LogPage provisioning_log_page(const ProvisioningCounts& counts);
// There is no thermometer in a file: "not known".
[[nodiscard]] LogPage temperature_log_page();
[[nodiscard]] LogPage informational_exceptions_log_page(const Sense& latest);

}  // namespace mpath::scsi
