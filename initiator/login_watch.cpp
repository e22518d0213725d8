#include "initiator/login_watch.hpp"

#include <fmt/format.h>

#include <charconv>

#include "wire/iscsi_keys.hpp"

namespace mpath {
namespace {

constexpr std::uint8_t stage_security = 0;
constexpr std::uint8_t stage_full_feature = 3;
constexpr std::uint32_t burst_offered = 262144;  // what libiscsi offers for every length

template <typename Number>
std::optional<Number> number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

SessionFailure protocol(std::string text) { return {SessionEnd::protocol_error, std::move(text)}; }

// A value from the peer, fit for one line of a log.
std::string shown(std::string_view value) {
  std::string text;
  for (const char c : value.substr(0, 64)) text += c >= ' ' && c <= '~' ? c : '?';
  return text;
}

// RFC 7143, 11.13.5.
const char* status_text(std::uint8_t status_class, std::uint8_t detail) {
  switch (status_class << 8 | detail) {
    case 0x0101: return "target moved temporarily";
    case 0x0102: return "target moved permanently";
    case 0x0200: return "initiator error";
    case 0x0201: return "authentication failure";
    case 0x0202: return "authorization failure";
    case 0x0203: return "target not found";
    case 0x0204: return "target removed";
    case 0x0205: return "unsupported version";
    case 0x0206: return "too many connections";
    case 0x0207: return "missing parameter";
    case 0x0208: return "cannot include in session";
    case 0x0209: return "session type not supported";
    case 0x020a: return "session does not exist";
    case 0x020b: return "invalid request during login";
    case 0x0300: return "target error";
    case 0x0301: return "service unavailable";
    case 0x0302: return "out of resources";
    default: return "unknown status";
  }
}

SessionFailure refused_by_target(std::uint8_t status_class, std::uint8_t detail) {
  SessionEnd end = SessionEnd::protocol_error;
  if (status_class == 2) end = detail == 1 || detail == 2 ? SessionEnd::auth_failed : SessionEnd::login_rejected;
  if (status_class == 3) end = SessionEnd::target_unavailable;
  return {end, fmt::format("login refused: {} (status {:02x}{:02x})", status_text(status_class, detail), status_class, detail)};
}

}  // namespace

std::optional<PortalText> parse_portal(std::string_view text) {
  PortalText portal;
  if (const std::size_t comma = text.rfind(','); comma != std::string_view::npos) {
    const auto tag = number<std::uint16_t>(text.substr(comma + 1));
    if (!tag) return std::nullopt;
    portal.tpgt = *tag;
    text = text.substr(0, comma);
  }
  std::string_view port;
  if (!text.empty() && text.front() == '[') {
    const std::size_t bracket = text.find(']');
    if (bracket == std::string_view::npos) return std::nullopt;
    portal.address = text.substr(1, bracket - 1);
    port = text.substr(bracket + 1);
    if (!port.empty() && port.front() != ':') return std::nullopt;
    if (!port.empty()) port.remove_prefix(1);
    if (text.back() == ':') return std::nullopt;
  } else {
    const std::size_t colon = text.find(':');
    portal.address = text.substr(0, colon);
    if (colon != std::string_view::npos) {
      port = text.substr(colon + 1);
      if (port.empty()) return std::nullopt;
    }
  }
  if (!port.empty()) {
    const auto value = number<std::uint16_t>(port);
    if (!value || *value == 0) return std::nullopt;
    portal.port = *value;
  }
  if (portal.address.empty()) return std::nullopt;
  return portal;
}

void LoginWatch::on_request(bhs::View header, std::span<const std::byte> segment) {
  request_csg_ = bhs::csg(header);
  request_transit_ = (bhs::flags(header) & bhs::flag_final) != 0;
  static_cast<void>(for_each_key(segment, [&](std::string_view key, std::string_view) {
    if (key == "CHAP_R") chap_answered_ = true;
  }));
}

std::optional<SessionFailure> LoginWatch::on_key(std::string_view key, std::string_view value) {
  const auto bad = [&] { return protocol(fmt::format("login key out of range: {}={}", shown(key), shown(value))); };
  const bool empty_answer = value == "Irrelevant" || value == "Reject" || value == "NotUnderstood";
  const auto length = [&](std::uint32_t least, std::uint32_t most, std::uint32_t& out) -> std::optional<SessionFailure> {
    const auto got = number<std::uint32_t>(value);
    if (!got || *got < least || *got > most) return bad();
    out = *got;
    return std::nullopt;
  };
  if (policy_.discovery && value == iscsi::reply_irrelevant) {  // RFC 7143, 13: keys of commands mean nothing there
    const auto* spec = iscsi::find_key(key);
    if (spec != nullptr && spec->normal_only) return std::nullopt;
  }
  if (key == "TargetAddress") {
    target_address_ = value;
  } else if (key == "TargetPortalGroupTag") {
    const auto tag = number<std::uint16_t>(value);
    if (!tag) return bad();
    info_.portal_group = *tag;
  } else if (key == "MaxRecvDataSegmentLength") {
    // 0 would make the library split a write into endlessly many empty PDUs.
    return length(512, 0xffffff, info_.max_xmit_data_segment_length);
  } else if (key == "MaxBurstLength") {
    return length(512, burst_offered, info_.max_burst_length);
  } else if (key == "FirstBurstLength") {
    if (value == "Irrelevant") return std::nullopt;
    return length(512, burst_offered, info_.first_burst_length);
  } else if (key == "MaxOutstandingR2T") {
    return length(1, 1, info_.max_outstanding_r2t);
  } else if (key == "InitialR2T") {
    if (value != "Yes" && value != "No") return bad();
    info_.initial_r2t = value == "Yes";
    if (policy_.initial_r2t && !info_.initial_r2t) return bad();  // the result is the OR
  } else if (key == "ImmediateData") {
    if (value != "Yes" && value != "No") return bad();
    info_.immediate_data = value == "Yes";
    if (!policy_.immediate_data && info_.immediate_data) return bad();  // the result is the AND
  } else if (key == "HeaderDigest") {
    if (value != "None" && value != "CRC32C") return bad();
    digest_answered_ = true;
    header_digest_ = value == "CRC32C";
    if (header_digest_ && policy_.header_digest == Digest::none) return bad();
    if (!header_digest_ && policy_.header_digest == Digest::crc32c) return bad();
    info_.header_digest = header_digest_ ? "CRC32C" : "None";
  } else if (key == "DataDigest") {
    if (value != "None" && !empty_answer) return bad();
  } else if (key == "ErrorRecoveryLevel") {
    if (value != "0" && !empty_answer) return bad();
  } else if (key == "MaxConnections") {
    if (value != "1" && !empty_answer) return bad();
  } else if (key == "IFMarker" || key == "OFMarker") {
    if (value == "Yes") return bad();
  } else if (key == "DataPDUInOrder" || key == "DataSequenceInOrder") {
    if (value == "No") return bad();
  } else if (key == "AuthMethod") {
    if (value != "CHAP" && value != "None") return bad();
    if (value == "None" && (policy_.chap_required || policy_.mutual)) {
      return SessionFailure{SessionEnd::auth_failed, "CHAP is required and the target does not ask for it"};
    }
  } else if (key == "CHAP_A") {
    if (value != "5") return bad();  // MD5 is all the library knows
  } else if (key == "CHAP_C") {
    if (!value.starts_with("0x") || value.size() < 4) return protocol("the target's CHAP challenge is not in hex");
  } else if (key == "CHAP_N") {
    name_seen_ = true;
  } else if (key == "CHAP_R") {
    proof_seen_ = true;
  }
  return std::nullopt;
}

LoginStep LoginWatch::on_response(bhs::View header, std::span<const std::byte> segment) {
  const std::uint8_t flags = bhs::flags(header);
  const bool transit = (flags & bhs::flag_final) != 0;
  const std::uint8_t status_class = bhs::login_status_class(header);
  const std::uint8_t detail = bhs::login_status_detail(header);
  if ((flags & bhs::flag_continue) != 0) return protocol("login answer is continued, which is not supported");
  if (segment.size() > 65536) return protocol("login answer is too long");

  name_seen_ = proof_seen_ = false;
  std::optional<SessionFailure> failure;
  const bool well_formed = for_each_key(segment, [&](std::string_view key, std::string_view value) {
    if (!failure) failure = on_key(key, value);
  });
  if (status_class == 1) {
    const auto portal = parse_portal(target_address_);
    if (!portal) {
      return SessionFailure{SessionEnd::redirect_failed,
                            fmt::format("redirected to no usable address: '{}'", shown(target_address_))};
    }
    return LoginRedirect{portal->address, portal->port};
  }
  if (status_class != 0) return refused_by_target(status_class, detail);
  if (!well_formed) return protocol("login answer is not key=value text");
  if (failure) return *failure;

  if (bhs::csg(header) != request_csg_) return protocol("login answer is of another stage than the request");
  if (!transit) return LoginGoesOn{};
  if (!request_transit_) return protocol("the target left a login stage on its own");
  const std::uint8_t next = bhs::nsg(header);
  if (next <= request_csg_ || next == 2) return protocol("login answer goes to a stage that is not there");
  if (request_csg_ == stage_security && chap_answered_) {
    if (policy_.mutual && !(name_seen_ && proof_seen_)) {
      return SessionFailure{SessionEnd::auth_failed, "the target did not answer our CHAP challenge"};
    }
    authenticated_ = true;
  }
  // Without this a target (or who poses as it) could skip CHAP by leaving the security stage early.
  if ((policy_.chap_required || policy_.mutual) && !authenticated_) {
    return SessionFailure{SessionEnd::auth_failed, "CHAP is required and the target does not ask for it"};
  }
  if (next != stage_full_feature) return LoginGoesOn{};

  if (policy_.header_digest == Digest::crc32c && !digest_answered_) {
    return protocol("header digests are required and the target does not answer the key");
  }
  return LoginDone{header_digest_, !digest_answered_};
}

}  // namespace mpath
