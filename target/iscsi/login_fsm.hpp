// One login, the target's side (RFC 7143, section 6): from the first request to the response that opens the full
// feature phase, or to the status that ends it.
//
//   begin(BHS) ──► NeedData ──► take(data) ──► Send: go on with begin()
//        │                          ├────────► Admit: ask the registry, then admitted() or refused()
//        └──────────────────────────┴────────► Refuse: send, then close; or HangUp: close without a word
//
// Pure but for the source of CHAP challenges. Bounded: in the text it joins (C bit), in the answer it makes, in rounds.
// Any bytes are taken in any order; after Refuse and HangUp nothing more is.
//
// What the first request must bring (version, names, session type) decides before anything else is looked at; who may
// not see the target, or must go elsewhere, is told so before it is asked to prove anything.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "target/iscsi/login_auth.hpp"
#include "target/iscsi/session_registry.hpp"
#include "wire/iscsi_keys.hpp"
#include "wire/iscsi_pdu.hpp"

namespace mpath::target {

// What is known of a connection before it says anything.
struct LoginOrigin {
  std::string remote;          // address:port
  std::string remote_address;  // numeric
  iscsi::TargetAddress local;  // where the initiator came to
  std::uint32_t stat_sn = 1;   // of the first response
  ChallengeSource make_challenge = iscsi::make_chap_challenge;
};

class LoginFsm {
 public:
  struct NeedData {
    std::size_t bytes = 0;  // of the data segment, without its padding; take() wants exactly these
  };
  struct Send {
    std::vector<std::byte> pdu;
  };
  struct Refuse {
    std::vector<std::byte> pdu;
    iscsi::LoginStatus status = iscsi::LoginStatus::initiator_error;
    std::string_view why;  // for the administrator; a literal
  };
  struct HangUp {
    std::string_view why;
  };
  struct Admit {
    Admission admission;
  };
  using Step = std::variant<NeedData, Send, Refuse, HangUp, Admit>;

  // `targets` is the picture that this login ends with; `issued` is shared with all logins of the daemon.
  LoginFsm(std::shared_ptr<const TargetsView> targets, LoginOrigin origin, IssuedChallenges& issued);

  // The header of the next PDU, of whatever kind: NeedData, Refuse or HangUp.
  [[nodiscard]] Step begin(iscsi::Bhs bhs);
  // Its data segment, empty or not.
  [[nodiscard]] Step take(std::span<const std::byte> data);
  // After Admit: the last response, or the refusal.
  [[nodiscard]] Send admitted(std::uint16_t tsih, const std::optional<CommandNumbers>& numbers);
  [[nodiscard]] Refuse refused(iscsi::LoginStatus status, std::string_view why);

  // What is known so far; names are empty until they were said.
  [[nodiscard]] const std::string& initiator_name() const { return initiator_name_; }
  [[nodiscard]] const std::string& target_name() const { return target_name_; }
  [[nodiscard]] bool must_authenticate() const { return auth_ && auth_->required(); }
  [[nodiscard]] bool authenticated() const { return auth_ && auth_->required() && auth_->done(); }
  [[nodiscard]] bool proof_failed() const { return auth_ && auth_->proof_failed(); }
  // The next StatSN, and the CmdSN that the initiator goes on with.
  [[nodiscard]] std::uint32_t stat_sn() const { return stat_sn_; }
  [[nodiscard]] std::uint32_t cmd_sn() const { return request_.cmd_sn; }

 private:
  struct Refusal {
    iscsi::LoginStatus status;
    std::string_view why;
    iscsi::KeyValues text = {};
  };
  using Checked = std::optional<Refusal>;  // nothing: all is well

  [[nodiscard]] Checked check_header(const iscsi::LoginRequest& request) const;
  [[nodiscard]] Step take_whole(std::span<const iscsi::KeyValue> pairs);
  [[nodiscard]] Checked identify(std::span<const iscsi::KeyValue> pairs);
  [[nodiscard]] Checked find_target(std::span<const iscsi::KeyValue> pairs);
  [[nodiscard]] Checked check_phase(std::span<const iscsi::KeyValue> pairs) const;
  [[nodiscard]] Checked negotiate(std::span<const iscsi::KeyValue> pairs);
  [[nodiscard]] Checked authenticate(std::span<const iscsi::KeyValue> others);
  [[nodiscard]] bool for_leading_only(const iscsi::KeyValue& pair) const;
  void declare();
  [[nodiscard]] Step answer();
  [[nodiscard]] Send send(bool transit, bool continued, std::size_t bytes);
  [[nodiscard]] Refuse refuse(const Refusal& refusal);
  [[nodiscard]] Admission admission() const;
  [[nodiscard]] std::vector<std::byte> encode_response(iscsi::LoginResponse response,
                                                       std::span<const std::byte> text) const;
  [[nodiscard]] CommandNumbers numbers() const;
  [[nodiscard]] std::size_t segment_max() const;

  // Constant after construction.
  std::shared_ptr<const TargetsView> targets_;
  LoginOrigin origin_;
  IssuedChallenges& issued_;

  // Set by the first request.
  bool started_ = false;  // its header was fine
  bool identified_ = false;
  iscsi::LoginRequest first_;
  std::string initiator_name_;
  std::string initiator_alias_;
  std::string target_name_;
  bool discovery_ = false;
  std::shared_ptr<const TargetView> target_;  // null for discovery
  std::uint16_t portal_group_ = 0;
  std::optional<LoginAuth> auth_;
  std::optional<iscsi::Negotiation> negotiation_;

  // Grows with the login.
  iscsi::LoginRequest request_;  // the one being answered
  iscsi::Stage stage_ = iscsi::Stage::security;
  bool declared_ = false;            // our MaxRecvDataSegmentLength went out
  std::vector<std::byte> text_;      // of the request that is not whole yet
  iscsi::KeyValues replies_;         // to what was taken
  std::vector<std::byte> outgoing_;  // the answer, as far as it was not sent
  std::optional<CommandNumbers> session_numbers_;
  std::uint32_t stat_sn_;
  unsigned rounds_ = 0;
};

}  // namespace mpath::target
