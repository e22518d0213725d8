// The security stage of a login, the target's side: AuthMethod and CHAP (RFC 7143, 12.1.3 and 13.1), one way or both.
//
//   begin ──AuthMethod=CHAP──► agreed ──CHAP_A──► challenged ──CHAP_N, CHAP_R──► done
//     └────AuthMethod=None, when nobody needs to authenticate───────────────────►
//
// Pure but for the source of challenges, which is handed in. Whatever is wrong with a proof gets the same answer after
// the same work: nobody learns whether it was the name or the secret.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "target/iscsi/target_view.hpp"
#include "wire/chap.hpp"
#include "wire/iscsi_pdu.hpp"
#include "wire/iscsi_text.hpp"

namespace mpath::target {

// The challenges that we gave to anyone lately. One that comes back as an initiator's own would have us compute the
// very response that somebody owes us on another connection (RFC 7143, 9.2.1).
class IssuedChallenges {
 public:
  static constexpr std::size_t kept_max = 1024;
  void remember(std::span<const std::byte> challenge);
  [[nodiscard]] bool holds(std::span<const std::byte> challenge) const;
  [[nodiscard]] std::uint8_t next_id() { return next_id_++; }

 private:
  std::deque<std::vector<std::byte>> kept_;
  std::uint8_t next_id_ = 1;
};

using ChallengeSource = std::vector<std::byte> (*)(iscsi::ChapAlgorithm);

class LoginAuth {
 public:
  // All borrowed: they outlive the login.
  LoginAuth(const Authentication& accounts, IssuedChallenges& issued, ChallengeSource make_challenge);

  // Nobody may leave the security stage, or skip it, without a proof.
  [[nodiscard]] bool required() const { return !accounts_.incoming.empty(); }
  [[nodiscard]] bool begun() const { return !std::holds_alternative<Begin>(state_); }
  [[nodiscard]] bool done() const { return std::holds_alternative<Done>(state_); }
  // Whether the initiator may go on to the next stage as far as this one is concerned.
  [[nodiscard]] bool may_leave() const { return done() || (!required() && std::holds_alternative<Begin>(state_)); }
  // The account that was proven; empty without CHAP.
  [[nodiscard]] const std::string& user() const { return user_; }
  // A response was given, and it was wrong.
  [[nodiscard]] bool proof_failed() const { return proof_failed_; }

  // Takes the authentication keys of one login request. Success: `replies` goes out. Otherwise the login ends with that
  // status: authentication_failure for what does not fit the exchange, initiator_error for keys that come twice.
  [[nodiscard]] iscsi::LoginStatus take(std::span<const iscsi::KeyValue> keys, iscsi::KeyValues& replies);

 private:
  struct Begin {};
  struct Agreed {};
  struct Challenged {
    iscsi::ChapAlgorithm algorithm;
    std::uint8_t id;
    std::vector<std::byte> challenge;
  };
  struct Done {};

  struct Received;  // the keys by name
  [[nodiscard]] iscsi::LoginStatus agree(const Received& keys, iscsi::KeyValues& replies);
  [[nodiscard]] iscsi::LoginStatus challenge(const Received& keys, iscsi::KeyValues& replies);
  [[nodiscard]] iscsi::LoginStatus check(const Challenged& asked, const Received& keys, iscsi::KeyValues& replies);
  [[nodiscard]] bool proves(const Challenged& asked, const std::string& user, const std::string& response) const;
  [[nodiscard]] iscsi::LoginStatus prove(const Challenged& asked, const Received& keys,
                                         iscsi::KeyValues& replies) const;

  // Constant after construction.
  const Authentication& accounts_;
  IssuedChallenges& issued_;
  ChallengeSource make_challenge_;

  std::variant<Begin, Agreed, Challenged, Done> state_;
  std::string user_;
  bool proof_failed_ = false;
};

}  // namespace mpath::target
