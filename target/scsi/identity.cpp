#include "target/scsi/identity.hpp"

#include <sys/random.h>

#include <algorithm>

#include "base/bytes.hpp"
#include "base/check.hpp"

namespace mpath::target {
namespace {

constexpr std::string_view digits = "0123456789abcdef";

// A company id with the "locally administered" bit (0x02 of its first octet), so that it is nobody's: 02-4D-50.
constexpr std::uint32_t company_id = 0x024d50;

// The octets of a version 4 UUID that are random throughout: those that carry version and variant are left out.
std::array<std::uint8_t, 14> random_octets(const Uuid& uuid) {
  std::array<std::uint8_t, 14> octets{};
  std::size_t at = 0;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    if (i != 6 && i != 8) octets[at++] = uuid[i];
  }
  return octets;
}

int value_of(char c) {
  if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  const auto at = digits.find(c);
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

bool dash_before(std::size_t octet) {
  return octet == 4 || octet == 6 || octet == 8 || octet == 10;
}

}  // namespace

Uuid make_uuid() {
  Uuid uuid;
  CHECK(getrandom(uuid.data(), uuid.size(), 0) == static_cast<ssize_t>(uuid.size()));
  uuid[6] = static_cast<std::uint8_t>((uuid[6] & 0x0f) | 0x40);
  uuid[8] = static_cast<std::uint8_t>((uuid[8] & 0x3f) | 0x80);
  return uuid;
}

std::optional<Uuid> parse_uuid(std::string_view text) {
  Uuid uuid{};
  std::size_t at = 0;
  for (std::size_t octet = 0; octet < uuid.size(); ++octet) {
    if (dash_before(octet)) {
      if (at >= text.size() || text[at] != '-') return std::nullopt;
      ++at;
    }
    if (at + 2 > text.size()) return std::nullopt;
    const int high = value_of(text[at]);
    const int low = value_of(text[at + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    uuid[octet] = static_cast<std::uint8_t>(high << 4 | low);
    at += 2;
  }
  if (at != text.size()) return std::nullopt;
  return uuid;
}

std::string format_uuid(const Uuid& uuid) {
  std::string text;
  for (std::size_t octet = 0; octet < uuid.size(); ++octet) {
    if (dash_before(octet)) text += '-';
    text += digits[uuid[octet] >> 4];
    text += digits[uuid[octet] & 0x0f];
  }
  return text;
}

std::array<std::byte, 16> naa6(const Uuid& uuid) {
  const auto octets = random_octets(uuid);
  std::array<std::byte, 16> name{};
  Writer w(name);
  w.u32(0x60000000 | company_id << 4 | octets[13] >> 4);  // 4 bits of NAA, 24 of company id, 4 of ours
  for (std::size_t i = 0; i < 12; ++i) w.u8(octets[i]);
  return name;
}

std::array<std::byte, 16> eui64(const Uuid& uuid) {
  const auto octets = random_octets(uuid);
  std::array<std::byte, 16> name{};
  Writer w(name);
  for (std::size_t i = 0; i < 8; ++i) w.u8(octets[i]);  // the identifier extension stands first
  w.u24(company_id);
  for (std::size_t i = 8; i < 13; ++i) w.u8(octets[i]);
  return name;
}

std::string serial_number(const Uuid& uuid) {
  std::string text = format_uuid(uuid);
  std::erase(text, '-');
  return text;
}

}  // namespace mpath::target
