// The mode pages of a logical unit: their bytes from its values, and its values from what an initiator sends.
//
// Pure. Pages: 01h read-write error recovery, 02h disconnect-reconnect, 08h caching, 0Ah control, 0Ah/01h control
// extension, 1Ch informational exceptions. Changeable: WCE and RCD; TST, D_SENSE, QERR, SWP and TAS. All nexuses share
// all pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <vector>

#include "target/scsi/lu_state.hpp"
#include "wire/scsi_mode.hpp"

namespace mpath::target {

// PAGE CONTROL of MODE SENSE. On the wire: never renumber.
enum class PageControl : std::uint8_t { current = 0, changeable = 1, defaults = 2, saved = 3 };

// The pages asked for, in ascending order; none: there is no such page.
[[nodiscard]] std::vector<scsi::ModePage> mode_pages(std::uint8_t page, std::uint8_t subpage, PageControl control,
                                                     const ModeValues& values);

// The byte of the parameter list that is not acceptable.
struct BadParameter {
  std::size_t at = 0;
};
// `values` with what the pages change. A bit that cannot be changed must stand as it is (SPC-4 6.12).
[[nodiscard]] std::expected<ModeValues, BadParameter> apply_mode_pages(std::span<const scsi::ModePage> pages,
                                                                       ModeValues values);

}  // namespace mpath::target
