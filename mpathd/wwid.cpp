#include "mpathd/wwid.hpp"

#include <fmt/format.h>

#include <cctype>
#include <cstring>
#include <string_view>

namespace mpath {
namespace {

struct Candidate {
  int rank = 0;
  std::string text;
};

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return text;
}

// Up to the first NUL: text designators are padded with them.
std::string_view text_of(std::span<const std::byte> bytes) {
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return all.substr(0, all.find('\0'));
}

Candidate from_naa(std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  const unsigned naa = std::to_integer<unsigned>(bytes[0]) >> 4;
  switch (naa) {
    case 6:
      return bytes.size() == 16 ? Candidate{8, "3" + hex(bytes)} : Candidate{};
    case 5:
      return bytes.size() == 8 ? Candidate{7, "3" + hex(bytes)} : Candidate{};
    case 2:
      return bytes.size() == 8 ? Candidate{6, "3" + hex(bytes)} : Candidate{};
    case 3:
      return bytes.size() == 8 ? Candidate{1, "3" + hex(bytes)} : Candidate{};
    default:
      return {};
  }
}

Candidate from_eui(std::span<const std::byte> bytes) {
  const bool right_length = bytes.size() == 8 || bytes.size() == 12 || bytes.size() == 16;
  return right_length ? Candidate{4, "2" + hex(bytes)} : Candidate{};
}

Candidate from_name(std::span<const std::byte> bytes) {
  const std::string_view name = text_of(bytes);
  if (name.starts_with("naa.")) return {3, "3" + std::string(name.substr(4))};
  if (name.starts_with("eui.")) return {3, "2" + std::string(name.substr(4))};
  if (name.starts_with("iqn.")) return {3, "8" + std::string(name)};
  return {};
}

Candidate from_t10(std::span<const std::byte> bytes) {
  std::string squeezed;
  bool blank = false;
  for (const char character : text_of(bytes)) {
    if (std::isspace(static_cast<unsigned char>(character)) != 0) {
      blank = true;
      continue;
    }
    if (blank && !squeezed.empty()) squeezed += '_';
    blank = false;
    squeezed += character;
  }
  return squeezed.empty() ? Candidate{} : Candidate{2, "1" + squeezed};
}

Candidate from(const scsi::Designator& designator) {
  if (designator.association != scsi::Association::logical_unit) return {};
  const std::span<const std::byte> bytes(designator.bytes);
  switch (designator.type) {
    case scsi::DesignatorType::naa:
      return from_naa(bytes);
    case scsi::DesignatorType::eui64:
      return from_eui(bytes);
    case scsi::DesignatorType::scsi_name:
      return from_name(bytes);
    case scsi::DesignatorType::t10_vendor_id:
      return from_t10(bytes);
    case scsi::DesignatorType::vendor:
    case scsi::DesignatorType::relative_target_port:
    case scsi::DesignatorType::target_port_group:
    case scsi::DesignatorType::logical_unit_group:
    case scsi::DesignatorType::md5:
    case scsi::DesignatorType::protocol_port:
    case scsi::DesignatorType::uuid:
      return {};
  }
  return {};
}

}  // namespace

std::string wwid_of(const scsi::DeviceId& page) {
  Candidate best;
  for (const scsi::Designator& designator : page.designators) {
    Candidate candidate = from(designator);
    if (candidate.rank > best.rank) best = std::move(candidate);
  }
  if (best.text.size() > wwid_length_max) best.text.resize(wwid_length_max);
  return best.text;
}

}  // namespace mpath
