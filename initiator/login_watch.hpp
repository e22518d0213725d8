// Watches the login that libiscsi does and judges what the library does not: status, keys and their ranges, stages, and
// whether the target has really shown who it is. Pure: sees requests and responses, says what to think of them.
//
//   request  -> noted: stage asked for, "our CHAP response has left"
//   response -> go on | redirect | refuse with a reason, before the library sees it
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "initiator/bhs.hpp"
#include "initiator/session.hpp"

namespace mpath {

struct LoginPolicy {
  bool chap_required = false;
  bool mutual = false;  // the target must answer our challenge
  Digest header_digest = Digest::none;
  bool immediate_data = true;
  bool initial_r2t = false;
  bool discovery = false;
};

struct LoginGoesOn {};
struct LoginDone {
  bool header_digest = false;
  bool digest_key_missing = false;  // offered and not answered: None by the RFC, but the library would switch it on
};
struct LoginRedirect {
  std::string address;  // without brackets
  std::uint16_t port = 3260;
};
using LoginStep = std::variant<LoginGoesOn, LoginDone, LoginRedirect, SessionFailure>;

class LoginWatch {
 public:
  explicit LoginWatch(LoginPolicy policy) : policy_(policy) {}

  void on_request(bhs::View header, std::span<const std::byte> segment);
  [[nodiscard]] LoginStep on_response(bhs::View header, std::span<const std::byte> segment);

  // What was negotiated, as far as the keys say; portal_group too.
  [[nodiscard]] const SessionInfo& info() const { return info_; }

 private:
  [[nodiscard]] std::optional<SessionFailure> on_key(std::string_view key, std::string_view value);

  LoginPolicy policy_;
  SessionInfo info_;
  std::string target_address_;
  std::uint8_t request_csg_ = 0;
  bool request_transit_ = false;
  bool chap_answered_ = false;  // our own response has left
  bool name_seen_ = false;      // in the response at hand
  bool proof_seen_ = false;
  bool authenticated_ = false;  // the security stage ended after our CHAP response (and the target's, when mutual)
  bool digest_answered_ = false;
  bool header_digest_ = false;
};

// Splits "host:port,tag", "host:port", "[v6]:port" and forms without port. Fails on an empty host or a bad number.
struct PortalText {
  std::string address;  // without brackets
  std::uint16_t port = 3260;
  int tpgt = -1;
};
[[nodiscard]] std::optional<PortalText> parse_portal(std::string_view text);

// Calls `each(key, value)` for the NUL-separated pairs of a text segment. False when a pair has no '=' or no NUL.
template <typename Function>
[[nodiscard]] bool for_each_key(std::span<const std::byte> segment, Function each) {
  std::string_view rest(reinterpret_cast<const char*>(segment.data()), segment.size());
  while (!rest.empty()) {
    const std::size_t end = rest.find('\0');
    if (end == std::string_view::npos) return false;
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    if (pair.empty()) continue;  // padding that some targets count in
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos || equals == 0) return false;
    each(pair.substr(0, equals), pair.substr(equals + 1));
  }
  return true;
}

}  // namespace mpath
