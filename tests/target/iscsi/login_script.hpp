// Words for the tests of logins: requests as text, answers taken apart.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "target/iscsi/login_fsm.hpp"
#include "wire/chap.hpp"
#include "wire/iscsi_text.hpp"

namespace mpath::target::test {

using iscsi::LoginStatus;
using iscsi::Stage;

inline constexpr const char* initiator_iqn = "iqn.2026-01.org.example:host";
inline constexpr const char* target_iqn = "iqn.2026-01.org.example:disk";
inline constexpr const char* names =
    "InitiatorName=iqn.2026-01.org.example:host\nTargetName=iqn.2026-01.org.example:disk\n";
inline constexpr const char* discovery = "InitiatorName=iqn.2026-01.org.example:host\nSessionType=Discovery\n";

inline std::string with_names(std::string_view keys) {
  return std::string(names).append(keys);
}

// "A=1\nB=2\n" with its line ends as NULs.
inline std::vector<std::byte> text(std::string_view lines) {
  std::vector<std::byte> bytes;
  for (const char c : lines) bytes.push_back(static_cast<std::byte>(c == '\n' ? '\0' : c));
  return bytes;
}

// The request with its data segment, padded: as it goes over the wire.
inline std::vector<std::byte> login_pdu(iscsi::LoginRequest request, std::span<const std::byte> data) {
  request.data_length = static_cast<std::uint32_t>(data.size());
  std::vector<std::byte> pdu(iscsi::bhs_bytes + iscsi::padded(data.size()));
  iscsi::encode(request, std::span(pdu).first<iscsi::bhs_bytes>());
  std::copy(data.begin(), data.end(), pdu.begin() + iscsi::bhs_bytes);
  return pdu;
}

// One request. Stages by the RFC's numbers.
struct Say {
  Stage stage = Stage::operational;
  std::optional<Stage> next = std::nullopt;  // T and NSG
  std::string keys = {};
  bool continued = false;
};
inline Say security(std::string keys) {
  return {.stage = Stage::security, .keys = std::move(keys)};
}
inline Say security_to(Stage next, std::string keys) {
  return {.stage = Stage::security, .next = next, .keys = std::move(keys)};
}
inline Say operational(std::string keys) {
  return {.keys = std::move(keys)};
}
inline Say last(std::string keys) {
  return {.next = Stage::full_feature, .keys = std::move(keys)};
}

inline iscsi::LoginRequest request_of(const Say& say) {
  return {.transit = say.next.has_value(),
          .continued = say.continued,
          .current = say.stage,
          .next = say.next.value_or(Stage::security),
          .isid = {0x80, 1, 2, 3, 4, 5},
          .itt = 77,
          .cid = 1,
          .cmd_sn = 1000};
}

// What came back.
struct Heard {
  iscsi::LoginResponse pdu;
  std::string keys;  // "A=1\nB=2\n"
  bool refused = false;
  bool hung_up = false;
  std::optional<Admission> admission;

  [[nodiscard]] bool going_on() const { return !refused && !hung_up && !admission; }
  [[nodiscard]] std::string value(std::string_view key) const {
    const std::string pattern = std::string(key) + "=";
    std::size_t at = keys.starts_with(pattern) ? 0 : keys.find("\n" + pattern);
    if (at == std::string::npos) return "";
    if (at != 0 || !keys.starts_with(pattern)) ++at;
    at += pattern.size();
    return keys.substr(at, keys.find('\n', at) - at);
  }
  [[nodiscard]] bool has(std::string_view line) const {
    return ("\n" + keys).find("\n" + std::string(line) + "\n") != std::string::npos;
  }
};

inline Heard hear_pdu(std::span<const std::byte> bytes) {
  Heard heard;
  const auto pdu = iscsi::decode_login_response(bytes.first<iscsi::bhs_bytes>());
  EXPECT_TRUE(pdu);
  if (!pdu) return heard;
  heard.pdu = *pdu;
  EXPECT_EQ(bytes.size(), iscsi::bhs_bytes + iscsi::padded(pdu->data_length));
  for (const std::byte byte : bytes.subspan(iscsi::bhs_bytes, pdu->data_length)) {
    const char c = static_cast<char>(byte);
    heard.keys += c == '\0' ? '\n' : c;
  }
  return heard;
}

inline Heard hear(const LoginFsm::Step& step) {
  Heard heard;
  if (const auto* sent = std::get_if<LoginFsm::Send>(&step)) heard = hear_pdu(sent->pdu);
  if (const auto* refused = std::get_if<LoginFsm::Refuse>(&step)) {
    heard = hear_pdu(refused->pdu);
    heard.refused = true;
    EXPECT_EQ(refused->status, heard.pdu.status);
    EXPECT_NE(refused->status, LoginStatus::success);
    EXPECT_FALSE(refused->why.empty());
  }
  if (std::holds_alternative<LoginFsm::HangUp>(step)) heard.hung_up = true;
  if (const auto* admit = std::get_if<LoginFsm::Admit>(&step)) heard.admission = admit->admission;
  return heard;
}

// Challenges that a test can foretell.
inline std::vector<std::byte> foretold_challenge(iscsi::ChapAlgorithm algorithm) {
  static unsigned count = 0;
  std::vector<std::byte> challenge(iscsi::chap_response_bytes(algorithm), std::byte{0x5a});
  challenge[0] = static_cast<std::byte>(++count);
  challenge[1] = static_cast<std::byte>(count >> 8);
  return challenge;
}

// A target that is served on 10.0.0.1:3260, without accounts.
inline std::shared_ptr<TargetView> plain_target() {
  auto target = std::make_shared<TargetView>();
  target->name = target_iqn;
  target->groups = {{.tag = 7, .portals = {{.host = "10.0.0.1"}}}};
  return target;
}

inline const Account account{.user = "joe", .secret = "the secret of joe"};
inline const Account own_account{.user = "disk", .secret = "the secret of disk"};

inline std::string proof(iscsi::ChapAlgorithm algorithm, const Heard& challenge, const Account& who) {
  const auto bytes = iscsi::parse_binary(challenge.value("CHAP_C"), iscsi::chap_challenge_bytes_max);
  const auto id = iscsi::parse_number(challenge.value("CHAP_I"));
  EXPECT_TRUE(bytes && id) << challenge.keys;
  if (!bytes || !id) return {};
  const auto response = iscsi::chap_response(algorithm, static_cast<std::uint8_t>(*id), who.secret, *bytes);
  return "CHAP_N=" + who.user + "\nCHAP_R=" + iscsi::hex_constant(response) + "\n";
}

// Plays the initiator of one login.
class Conversation {
 public:
  explicit Conversation(std::shared_ptr<const TargetView> target = plain_target(),
                        Authentication discovery_accounts = {}, IssuedChallenges* issued = nullptr)
      : issued_(issued != nullptr ? issued : &own_issued_) {
    auto targets = std::make_shared<TargetsView>();
    targets->targets.push_back(std::move(target));
    targets->discovery = std::move(discovery_accounts);
    fsm_.emplace(std::move(targets),
                 LoginOrigin{.remote = "10.0.0.9:1234",
                             .remote_address = "10.0.0.9",
                             .local = {.host = "10.0.0.1"},
                             .make_challenge = foretold_challenge},
                 *issued_);
  }
  Heard say(const Say& words) { return say(request_of(words), words.keys); }
  Heard say(iscsi::LoginRequest request, std::string_view keys) {
    request.tsih = request.tsih != 0 ? request.tsih : tsih;
    return say_bytes(login_pdu(request, text(keys)));
  }
  Heard say_bytes(std::span<const std::byte> pdu) {
    const auto step = fsm_->begin(pdu.first<iscsi::bhs_bytes>());
    const auto* need = std::get_if<LoginFsm::NeedData>(&step);
    if (need == nullptr) return hear(step);
    EXPECT_LE(iscsi::bhs_bytes + need->bytes, pdu.size());
    return hear(fsm_->take(pdu.subspan(iscsi::bhs_bytes, need->bytes)));
  }
  LoginFsm& fsm() { return *fsm_; }

  std::uint16_t tsih = 0;

 private:
  IssuedChallenges own_issued_;
  IssuedChallenges* issued_;
  std::optional<LoginFsm> fsm_;
};

}  // namespace mpath::target::test
