#include "target/scsi/mode_pages.hpp"

#include <algorithm>
#include <utility>

namespace mpath::target {
namespace {

struct PageKind {
  std::uint8_t page;
  std::uint8_t subpage;
  std::uint8_t body_bytes;
};

constexpr PageKind error_recovery{0x01, 0, 0x0a};
constexpr PageKind disconnect{0x02, 0, 0x0e};
constexpr PageKind caching{0x08, 0, 0x12};
constexpr PageKind control_page{0x0a, 0, 0x0a};
constexpr PageKind control_extension{0x0a, 1, 0x1c};
constexpr PageKind exceptions{0x1c, 0, 0x0a};
constexpr PageKind kinds[] = {error_recovery, disconnect, caching, control_page, control_extension, exceptions};
constexpr std::uint8_t all_subpages = 0xff;

constexpr std::uint8_t bit_wce = 0x04;
constexpr std::uint8_t bit_rcd = 0x01;
constexpr std::uint8_t mask_tst = 0xe0;
constexpr std::uint8_t bit_d_sense = 0x04;
constexpr std::uint8_t mask_qerr = 0x06;
constexpr std::uint8_t bit_swp = 0x08;
constexpr std::uint8_t bit_tas = 0x40;
constexpr std::uint8_t unrestricted_reordering = 0x10;
constexpr std::uint8_t both_reallocations = 0xc0;  // AWRE and ARRE: the medium looks after itself
constexpr std::uint8_t implicit_alua = 0x01;
constexpr std::uint8_t queue_error_reserved = 2;

bool is(const PageKind& kind, const PageKind& other) {
  return kind.page == other.page && kind.subpage == other.subpage;
}

void set(scsi::Bytes& body, std::size_t at, unsigned value) {
  body[at] = static_cast<std::byte>(value);
}

scsi::Bytes changeable_body(const PageKind& kind) {
  scsi::Bytes body(kind.body_bytes);
  if (is(kind, caching)) set(body, 0, bit_wce | bit_rcd);
  if (is(kind, control_page)) {
    set(body, 0, mask_tst | bit_d_sense);
    set(body, 1, mask_qerr);
    set(body, 2, bit_swp);
    set(body, 3, bit_tas);
  }
  return body;
}

scsi::Bytes value_body(const PageKind& kind, const ModeValues& values) {
  scsi::Bytes body(kind.body_bytes);
  if (is(kind, error_recovery)) set(body, 0, both_reallocations);
  if (is(kind, caching))
    set(body, 0, (values.write_cache ? bit_wce : 0u) | (values.read_cache_disabled ? bit_rcd : 0u));
  if (is(kind, control_page)) {
    set(body, 0, unsigned{values.task_set_type} << 5 | (values.descriptor_sense ? bit_d_sense : 0u));
    set(body, 1, unrestricted_reordering | unsigned{values.queue_error} << 1);
    set(body, 2, unsigned{values.unit_attention_interlock} << 4 | (values.software_write_protect ? bit_swp : 0u));
    set(body, 3, values.aborted_task_status ? bit_tas : 0u);
    set(body, 6, 0xff);  // BUSY TIMEOUT PERIOD: unlimited
    set(body, 7, 0xff);
  }
  if (is(kind, control_extension)) set(body, 0, implicit_alua);
  return body;
}

unsigned bits(const scsi::Bytes& body, std::size_t at, unsigned mask) {
  return std::to_integer<unsigned>(body[at]) & mask;
}

// Where in the body a value is that no bit mask can refuse; nothing: all are acceptable.
std::optional<std::size_t> read_values(const PageKind& kind, const scsi::Bytes& body, ModeValues& values) {
  if (is(kind, caching)) {
    values.write_cache = bits(body, 0, bit_wce) != 0;
    values.read_cache_disabled = bits(body, 0, bit_rcd) != 0;
  }
  if (is(kind, control_page)) {
    values.task_set_type = static_cast<std::uint8_t>(bits(body, 0, mask_tst) >> 5);
    values.descriptor_sense = bits(body, 0, bit_d_sense) != 0;
    values.queue_error = static_cast<std::uint8_t>(bits(body, 1, mask_qerr) >> 1);
    values.software_write_protect = bits(body, 2, bit_swp) != 0;
    values.aborted_task_status = bits(body, 3, bit_tas) != 0;
    if (values.task_set_type > 1) return 0;
    if (values.queue_error == queue_error_reserved) return 1;
  }
  return std::nullopt;
}

}  // namespace

std::vector<scsi::ModePage> mode_pages(std::uint8_t page, std::uint8_t subpage, PageControl control,
                                       const ModeValues& values) {
  std::vector<scsi::ModePage> pages;
  for (const PageKind& kind : kinds) {
    if (page != scsi::mode_page_all && page != kind.page) continue;
    if (subpage != all_subpages && subpage != kind.subpage) continue;
    pages.push_back({.page = kind.page,
                     .subpage = kind.subpage,
                     .savable = true,
                     .body = control == PageControl::changeable ? changeable_body(kind) : value_body(kind, values)});
  }
  // All pages with one subpage that happens to exist is no request the standard knows.
  if (page == scsi::mode_page_all && subpage != 0 && subpage != all_subpages) pages.clear();
  return pages;
}

std::expected<ModeValues, BadParameter> apply_mode_pages(std::span<const scsi::ModePage> pages, ModeValues values) {
  for (const scsi::ModePage& page : pages) {
    const auto kind = std::ranges::find_if(
        kinds, [&](const PageKind& known) { return known.page == page.page && known.subpage == page.subpage; });
    if (kind == std::end(kinds)) return std::unexpected(BadParameter{page.at});
    const std::size_t header = page.subpage != 0 ? 4 : 2;
    if (page.body.size() != kind->body_bytes) return std::unexpected(BadParameter{page.at + header - 1});
    const scsi::Bytes current = value_body(*kind, values);
    const scsi::Bytes changeable = changeable_body(*kind);
    for (std::size_t i = 0; i < page.body.size(); ++i) {
      if (((page.body[i] ^ current[i]) & ~changeable[i]) != std::byte{0})
        return std::unexpected(BadParameter{page.at + header + i});
    }
    if (const auto bad = read_values(*kind, page.body, values))
      return std::unexpected(BadParameter{page.at + header + *bad});
  }
  return values;
}

}  // namespace mpath::target
