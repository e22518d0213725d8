#include "target/iscsi/login_auth.hpp"

#include <algorithm>
#include <utility>

#include "wire/iscsi_keys.hpp"

namespace mpath::target {

using iscsi::ChapAlgorithm;
using iscsi::Key;
using iscsi::KeyValue;
using iscsi::KeyValues;
using iscsi::LoginStatus;

namespace {

// Stands in for an account that does not exist, so that looking for it takes as long as one that does.
constexpr std::string_view nobodys_secret = "nobody has this secret";

void reply(KeyValues& replies, Key key, std::string value) {
  replies.push_back({.key = std::string(iscsi::key_spec(key).name), .value = std::move(value)});
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

void IssuedChallenges::remember(std::span<const std::byte> challenge) {
  if (kept_.size() == kept_max) kept_.pop_front();
  kept_.emplace_back(challenge.begin(), challenge.end());
}

bool IssuedChallenges::holds(std::span<const std::byte> challenge) const {
  return std::ranges::any_of(kept_, [&](const auto& kept) { return std::ranges::equal(kept, challenge); });
}

struct LoginAuth::Received {
  const std::string* method = nullptr;
  const std::string* algorithms = nullptr;
  const std::string* name = nullptr;
  const std::string* response = nullptr;
  const std::string* id = nullptr;
  const std::string* challenge = nullptr;
  bool repeated = false;

  explicit Received(std::span<const KeyValue> keys) {
    for (const KeyValue& pair : keys) {
      const iscsi::KeySpec* spec = iscsi::find_key(pair.key);
      const std::string** place = spec == nullptr ? nullptr : place_of(spec->id);
      if (place == nullptr) continue;
      repeated = repeated || *place != nullptr;
      *place = &pair.value;
    }
  }
  [[nodiscard]] bool none() const { return method == nullptr && no_chap(); }
  [[nodiscard]] bool no_chap() const { return algorithms == nullptr && no_proof(); }
  [[nodiscard]] bool no_proof() const {
    return name == nullptr && response == nullptr && id == nullptr && challenge == nullptr;
  }

 private:
  const std::string** place_of(Key key) {
    if (key == Key::auth_method) return &method;
    if (key == Key::chap_a) return &algorithms;
    if (key == Key::chap_n) return &name;
    if (key == Key::chap_r) return &response;
    if (key == Key::chap_i) return &id;
    return key == Key::chap_c ? &challenge : nullptr;
  }
};

LoginAuth::LoginAuth(const Authentication& accounts, IssuedChallenges& issued, ChallengeSource make_challenge)
    : accounts_(accounts), issued_(issued), make_challenge_(make_challenge) {}

LoginStatus LoginAuth::take(std::span<const KeyValue> keys, KeyValues& replies) {
  const Received received(keys);
  if (received.repeated) return LoginStatus::initiator_error;
  if (received.none()) return LoginStatus::success;
  if (std::holds_alternative<Begin>(state_)) return agree(received, replies);
  if (std::holds_alternative<Agreed>(state_)) return challenge(received, replies);
  if (const auto* asked = std::get_if<Challenged>(&state_)) {
    const Challenged copy = *asked;  // what is checked must not change under the check
    return check(copy, received, replies);
  }
  // It was over: nothing is negotiated twice.
  return received.method != nullptr ? LoginStatus::initiator_error : LoginStatus::authentication_failure;
}

LoginStatus LoginAuth::agree(const Received& keys, KeyValues& replies) {
  if (keys.method == nullptr || !keys.no_chap()) return LoginStatus::authentication_failure;
  const std::string choice =
      iscsi::respond(iscsi::key_spec(Key::auth_method), *keys.method, required() ? "CHAP" : "None");
  if (choice == iscsi::reply_reject) return LoginStatus::authentication_failure;
  reply(replies, Key::auth_method, choice);
  if (required()) {
    state_ = Agreed{};
  } else {
    state_ = Done{};
  }
  return LoginStatus::success;
}

LoginStatus LoginAuth::challenge(const Received& keys, KeyValues& replies) {
  if (keys.method != nullptr) return LoginStatus::initiator_error;  // a second time
  if (!keys.no_proof()) return LoginStatus::authentication_failure;
  const auto algorithm = iscsi::choose_chap_algorithm(*keys.algorithms, accounts_.algorithms);
  if (!algorithm) return LoginStatus::authentication_failure;
  Challenged asked{.algorithm = *algorithm, .id = issued_.next_id(), .challenge = make_challenge_(*algorithm)};
  issued_.remember(asked.challenge);
  reply(replies, Key::chap_a, std::to_string(std::to_underlying(asked.algorithm)));
  reply(replies, Key::chap_i, std::to_string(asked.id));
  reply(replies, Key::chap_c, iscsi::hex_constant(asked.challenge));
  state_ = std::move(asked);
  return LoginStatus::success;
}

LoginStatus LoginAuth::check(const Challenged& asked, const Received& keys, KeyValues& replies) {
  if (keys.method != nullptr || keys.algorithms != nullptr) return LoginStatus::initiator_error;  // a second time
  if (keys.name == nullptr || keys.response == nullptr) return LoginStatus::authentication_failure;
  if (!proves(asked, *keys.name, *keys.response)) {
    proof_failed_ = true;
    return LoginStatus::authentication_failure;
  }
  if (keys.id != nullptr || keys.challenge != nullptr) {
    if (const LoginStatus status = prove(asked, keys, replies); status != LoginStatus::success) return status;
  }
  user_ = *keys.name;
  state_ = Done{};
  return LoginStatus::success;
}

// Every account is looked at, and the response is computed once, whether there is such a name or not.
bool LoginAuth::proves(const Challenged& asked, const std::string& user, const std::string& response) const {
  std::string_view secret = nobodys_secret;
  bool known = false;
  for (const Account& account : accounts_.incoming) {
    if (!iscsi::equal_in_constant_time(bytes_of(account.user), bytes_of(user))) continue;
    secret = account.secret;
    known = true;
  }
  const auto expected = iscsi::chap_response(asked.algorithm, asked.id, secret, asked.challenge);
  const auto given = iscsi::parse_binary(response, iscsi::chap_response_bytes_max);
  const bool equal = given && iscsi::equal_in_constant_time(*given, expected);
  return known && equal;
}

// The initiator wants to know who we are.
LoginStatus LoginAuth::prove(const Challenged& asked, const Received& keys, KeyValues& replies) const {
  if (keys.id == nullptr || keys.challenge == nullptr || !accounts_.outgoing) {
    return LoginStatus::authentication_failure;
  }
  const auto id = iscsi::parse_number(*keys.id);
  const auto challenge = iscsi::parse_binary(*keys.challenge, iscsi::chap_challenge_bytes_max);
  if (!id || *id > 255 || !challenge || issued_.holds(*challenge)) return LoginStatus::authentication_failure;
  const auto response =
      iscsi::chap_response(asked.algorithm, static_cast<std::uint8_t>(*id), accounts_.outgoing->secret, *challenge);
  reply(replies, Key::chap_n, accounts_.outgoing->user);
  reply(replies, Key::chap_r, iscsi::hex_constant(response));
  return LoginStatus::success;
}

}  // namespace mpath::target
