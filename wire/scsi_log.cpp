#include "wire/scsi_log.hpp"

#include "base/bytes.hpp"
#include "wire/error.hpp"

namespace mpath::scsi {
namespace {

constexpr std::size_t page_header_bytes = 4;
constexpr std::size_t parameter_header_bytes = 4;
constexpr std::uint8_t subpage_format_bit = 0x40;
constexpr std::uint8_t page_mask = 0x3f;
constexpr std::uint8_t temperature_unknown = 0xff;
constexpr std::uint16_t available_code = 0x0001;
constexpr std::uint16_t used_code = 0x0002;
constexpr std::uint8_t dedicated_scope = 0x01;  // the counts are of this unit alone

Bytes header(std::uint8_t page, std::optional<std::uint8_t> subpage, std::size_t length) {
  Bytes bytes(page_header_bytes + length);
  Writer w(bytes);
  w.u8(static_cast<std::uint8_t>((subpage ? subpage_format_bit : 0) | page));
  w.u8(subpage.value_or(0));
  w.u16(static_cast<std::uint16_t>(length));
  return bytes;
}

Bytes resource_count(std::uint32_t count) {
  Bytes value(8);
  Writer w(value);
  w.u32(count);
  w.u8(dedicated_scope);
  return value;
}

}  // namespace

Result<LogPage> decode_log_page(std::span<const std::byte> data) {
  Reader r(data);
  const std::uint8_t first = r.u8();
  const std::uint8_t subpage = r.u8();
  const std::size_t length = r.u16();
  Reader body(r.bytes(length));
  if (!r.ok()) return failure(WireErrc::truncated);
  LogPage page{.page = static_cast<std::uint8_t>(first & page_mask)};
  if ((first & subpage_format_bit) != 0) page.subpage = subpage;
  while (body.remaining() > 0) {
    LogParameter parameter{.code = body.u16(), .control = body.u8()};
    const auto value = body.bytes(body.u8());
    if (!body.ok()) return failure(WireErrc::truncated);
    parameter.value.assign(value.begin(), value.end());
    page.parameters.push_back(std::move(parameter));
  }
  return page;
}

Bytes encode_log_page(const LogPage& page) {
  std::size_t length = 0;
  for (const LogParameter& parameter : page.parameters) length += parameter_header_bytes + parameter.value.size();
  Bytes bytes = header(page.page, page.subpage, length);
  Writer w(std::span<std::byte>(bytes).subspan(page_header_bytes));
  for (const LogParameter& parameter : page.parameters) {
    w.u16(parameter.code);
    w.u8(parameter.control);
    w.u8(static_cast<std::uint8_t>(parameter.value.size()));
    w.bytes(parameter.value);
  }
  return bytes;
}

Bytes encode_log_pages(std::span<const LogPageCode> pages, bool subpages) {
  const auto subpage = subpages ? std::optional(log_subpage_all) : std::nullopt;
  Bytes bytes = header(log_page_supported, subpage, pages.size() * (subpages ? 2 : 1));
  Writer w(std::span<std::byte>(bytes).subspan(page_header_bytes));
  for (const LogPageCode& code : pages) {
    w.u8(code.page);
    if (subpages) w.u8(code.subpage);
  }
  return bytes;
}

Bytes encode_log_subpages(std::uint8_t page, std::span<const std::uint8_t> subpages) {
  Bytes bytes = header(page, log_subpage_all, subpages.size() * 2);
  Writer w(std::span<std::byte>(bytes).subspan(page_header_bytes));
  for (const std::uint8_t subpage : subpages) {
    w.u8(page);
    w.u8(subpage);
  }
  return bytes;
}

LogPage provisioning_log_page(const ProvisioningCounts& counts) {
  return {.page = log_page_provisioning,
          .parameters = {{.code = available_code, .value = resource_count(counts.available)},
                         {.code = used_code, .value = resource_count(counts.used)}}};
}

LogPage temperature_log_page() {
  const Bytes unknown = {std::byte{0}, std::byte{temperature_unknown}};
  return {.page = log_page_temperature,
          .parameters = {{.code = 0x0000, .value = unknown}, {.code = 0x0001, .value = unknown}}};
}

LogPage informational_exceptions_log_page(const Sense& latest) {
  Bytes value(4);
  Writer w(value);
  w.u8(latest.asc);
  w.u8(latest.ascq);
  w.u8(temperature_unknown);
  return {.page = log_page_informational_exceptions, .parameters = {{.code = 0x0000, .value = std::move(value)}}};
}

}  // namespace mpath::scsi
