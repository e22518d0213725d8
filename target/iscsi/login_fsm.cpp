#include "target/iscsi/login_fsm.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.hpp"
#include "wire/iscsi_text.hpp"

namespace mpath::target {

using iscsi::Key;
using iscsi::KeyValue;
using iscsi::KeyValues;
using iscsi::LoginRequest;
using iscsi::LoginResponse;
using iscsi::LoginStatus;
using iscsi::Stage;

namespace {

constexpr std::uint8_t version = 0;  // the only one there is

std::string_view key_name(Key key) {
  return iscsi::key_spec(key).name;
}

KeyValue declaration(Key key, std::string value) {
  return {.key = std::string(key_name(key)), .value = std::move(value)};
}

const std::string* find(std::span<const KeyValue> pairs, Key key) {
  return iscsi::find(pairs, key_name(key));
}

// What holds for the session was agreed when its first connection logged in (RFC 7143, section 13, "LO").
bool is_leading_only(Key key) {
  constexpr std::array keys = {Key::max_connections,        Key::initial_r2t,          Key::immediate_data,
                               Key::max_burst_length,       Key::first_burst_length,   Key::default_time2wait,
                               Key::default_time2retain,    Key::max_outstanding_r2t,  Key::data_pdu_in_order,
                               Key::data_sequence_in_order, Key::error_recovery_level, Key::task_reporting,
                               Key::protocol_level};
  return std::ranges::find(keys, key) != keys.end();
}

// A header whose fields contradict each other is still to be answered: what the answer repeats of it can be read when
// the flags are left out.
LoginRequest without_flags(iscsi::Bhs bhs) {
  constexpr std::size_t flags_at = 1;
  std::array<std::byte, iscsi::bhs_bytes> copy{};
  std::ranges::copy(bhs, copy.begin());
  copy[flags_at] = std::byte{0};
  return iscsi::decode_login_request(copy).value_or(LoginRequest{});
}

}  // namespace

LoginFsm::LoginFsm(std::shared_ptr<const TargetsView> targets, LoginOrigin origin, IssuedChallenges& issued)
    : targets_(std::move(targets)), origin_(std::move(origin)), issued_(issued), stat_sn_(origin_.stat_sn) {}

// ---- one PDU -------------------------------------------------------------------------------------------------------

LoginFsm::Step LoginFsm::begin(iscsi::Bhs bhs) {
  const auto head = iscsi::decode_head(bhs);
  if (!head || head->opcode != iscsi::Opcode::login_request) {
    if (!started_) return HangUp{"the first PDU is no login request"};
    return refuse({LoginStatus::invalid_during_login, "another PDU than a login request"});
  }
  const auto request = iscsi::decode_login_request(bhs);
  request_ = request ? *request : without_flags(bhs);
  if (!request) return refuse({LoginStatus::initiator_error, "stages and flags that cannot be"});
  if (head->ahs_length > 0) return refuse({LoginStatus::initiator_error, "an additional header segment"});
  if (auto wrong = check_header(request_)) return refuse(*wrong);
  if (!started_) {
    started_ = true;
    first_ = request_;
    stage_ = request_.current;
  }
  return NeedData{request_.data_length};
}

LoginFsm::Checked LoginFsm::check_header(const LoginRequest& request) const {
  if (request.version_min > version) return Refusal{LoginStatus::unsupported_version, "another version of iSCSI"};
  // Before MaxRecvDataSegmentLength was declared, and in the login altogether, the default holds.
  if (request.data_length > iscsi::limits::data_segment_default) {
    return Refusal{LoginStatus::initiator_error, "a data segment that is too long for a login"};
  }
  if (!started_) return std::nullopt;
  const bool same = request.isid == first_.isid && request.tsih == first_.tsih && request.cid == first_.cid &&
                    request.version_min == first_.version_min && request.version_max == first_.version_max;
  if (!same) return Refusal{LoginStatus::initiator_error, "ISID, TSIH, CID or version changed"};
  if (request.current != stage_) return Refusal{LoginStatus::initiator_error, "a request of another stage"};
  return std::nullopt;
}

LoginFsm::Step LoginFsm::take(std::span<const std::byte> data) {
  CHECK(data.size() == request_.data_length);
  if (!outgoing_.empty()) {  // the rest of our answer is being fetched
    if (!data.empty() || request_.continued) {
      return refuse({LoginStatus::initiator_error, "text while our answer is not whole yet"});
    }
    return answer();
  }
  if (text_.size() + data.size() > iscsi::limits::login_text_bytes_max) {
    return refuse({LoginStatus::initiator_error, "too much text in one request"});
  }
  text_.insert(text_.end(), data.begin(), data.end());
  if (request_.continued) {
    if (data.empty()) return refuse({LoginStatus::initiator_error, "an empty part of a request"});
    return send(false, false, 0);
  }
  if (++rounds_ > iscsi::limits::login_rounds_max) {
    return refuse({LoginStatus::initiator_error, "no end of requests"});
  }
  const auto pairs = iscsi::decode_text(text_);
  text_.clear();
  if (!pairs) return refuse({LoginStatus::initiator_error, "text that is no list of key=value"});
  return take_whole(*pairs);
}

LoginFsm::Step LoginFsm::take_whole(std::span<const KeyValue> pairs) {
  if (!identified_) {
    if (auto wrong = identify(pairs)) return refuse(*wrong);
    identified_ = true;
  } else if (find(pairs, Key::session_type) != nullptr) {
    return refuse({LoginStatus::initiator_error, "SessionType after the first request"});
  }
  if (auto wrong = check_phase(pairs)) return refuse(*wrong);
  if (auto wrong = negotiate(pairs)) return refuse(*wrong);
  outgoing_ = iscsi::encode_text(replies_);
  replies_.clear();
  if (outgoing_.size() > iscsi::limits::login_text_bytes_max) {
    return refuse({LoginStatus::initiator_error, "an answer that would be too long"});
  }
  return answer();
}

// ---- the first request ---------------------------------------------------------------------------------------------

LoginFsm::Checked LoginFsm::identify(std::span<const KeyValue> pairs) {
  const std::string* name = find(pairs, Key::initiator_name);
  if (name == nullptr) return Refusal{LoginStatus::missing_parameter, "no InitiatorName"};
  if (!iscsi::valid_iscsi_name(*name)) return Refusal{LoginStatus::initiator_error, "an InitiatorName that is none"};
  initiator_name_ = *name;
  if (const std::string* alias = find(pairs, Key::initiator_alias)) {
    initiator_alias_ = alias->substr(0, iscsi::limits::value_bytes_max);
  }
  if (const std::string* type = find(pairs, Key::session_type)) {
    if (*type != "Normal" && *type != "Discovery") {
      return Refusal{LoginStatus::session_type_not_supported, "a SessionType that there is not"};
    }
    discovery_ = *type == "Discovery";
  }
  if (discovery_) {
    const iscsi::Wishes wishes{.discovery = true};
    negotiation_.emplace(iscsi::Side::target, wishes);
    auth_.emplace(targets_->discovery, issued_, origin_.make_challenge);
    return std::nullopt;
  }
  return find_target(pairs);
}

LoginFsm::Checked LoginFsm::find_target(std::span<const KeyValue> pairs) {
  const std::string* name = find(pairs, Key::target_name);
  if (name == nullptr) return Refusal{LoginStatus::missing_parameter, "no TargetName"};
  target_name_ = name->substr(0, iscsi::limits::iscsi_name_bytes_max);
  auto target = targets_->find(*name);
  if (target == nullptr) return Refusal{LoginStatus::not_found, "no such target"};
  const PortalGroupView* group = target->group_at(origin_.local.host, origin_.local.port);
  if (group == nullptr) return Refusal{LoginStatus::not_found, "the target is not served at this address"};
  if (!target->access.allows(initiator_name_, origin_.remote_address)) {
    return Refusal{LoginStatus::authorization_failure, "not on the access list"};
  }
  if (target->redirect != Redirect::none) {
    const LoginStatus status = target->redirect == Redirect::permanent ? LoginStatus::target_moved_permanently
                                                                       : LoginStatus::target_moved_temporarily;
    iscsi::TargetAddress to = target->redirect_to;
    to.portal_group.reset();  // a redirection has no tag (RFC 7143, 13.8)
    return Refusal{status, "redirected", {declaration(Key::target_address, iscsi::format_target_address(to))}};
  }
  if (!target->ready) return Refusal{LoginStatus::service_unavailable, "the target is not ready"};
  portal_group_ = group->tag;
  replies_.push_back(declaration(Key::target_portal_group_tag, std::to_string(group->tag)));
  if (!target->alias.empty()) replies_.push_back(declaration(Key::target_alias, target->alias));
  iscsi::Wishes wishes = target->wishes;
  wishes.discovery = false;
  negotiation_.emplace(iscsi::Side::target, std::move(wishes));
  auth_.emplace(target->authentication, issued_, origin_.make_challenge);
  target_ = std::move(target);
  return std::nullopt;
}

// ---- every request -------------------------------------------------------------------------------------------------

LoginFsm::Checked LoginFsm::check_phase(std::span<const KeyValue> pairs) const {
  for (const KeyValue& pair : pairs) {
    const iscsi::KeySpec* spec = iscsi::find_key(pair.key);
    if (spec == nullptr || spec->id == Key::session_type) continue;
    switch (spec->phase) {
      case iscsi::Phase::any:
        break;
      case iscsi::Phase::security:
        if (stage_ == Stage::security) break;
        return Refusal{LoginStatus::initiator_error, "a key of the security stage outside of it"};
      case iscsi::Phase::login:
        if (stage_ == Stage::operational) break;
        return Refusal{LoginStatus::initiator_error, "an operational key in the security stage"};
      case iscsi::Phase::full_feature:
        return Refusal{LoginStatus::initiator_error, "a key of the full feature phase"};
    }
  }
  return std::nullopt;
}

bool LoginFsm::for_leading_only(const KeyValue& pair) const {
  const iscsi::KeySpec* spec = iscsi::find_key(pair.key);
  return first_.tsih != 0 && spec != nullptr && is_leading_only(spec->id);
}

LoginFsm::Checked LoginFsm::negotiate(std::span<const KeyValue> pairs) {
  KeyValues relevant;
  for (const KeyValue& pair : pairs) {
    if (for_leading_only(pair)) {
      replies_.push_back({.key = pair.key, .value = std::string(iscsi::reply_irrelevant)});
    } else {
      relevant.push_back(pair);
    }
  }
  auto taken = negotiation_->take(relevant);
  if (!taken) return Refusal{LoginStatus::initiator_error, "a key twice, or with a value it cannot have"};
  if (const std::string* alias = find(taken->others, Key::initiator_alias)) initiator_alias_ = *alias;
  if (auto wrong = authenticate(taken->others)) return wrong;
  replies_.insert(replies_.end(), taken->replies.begin(), taken->replies.end());
  if (stage_ == Stage::operational) declare();
  return std::nullopt;
}

LoginFsm::Checked LoginFsm::authenticate(std::span<const KeyValue> others) {
  if (stage_ != Stage::security) {
    if (auth_->may_leave()) return std::nullopt;
    return Refusal{LoginStatus::authentication_failure, "the security stage was left out"};
  }
  const bool asked = find(others, Key::auth_method) != nullptr;
  const LoginStatus status = auth_->take(others, replies_);
  if (status != LoginStatus::success) {
    return Refusal{status,
                   auth_->proof_failed() ? "a wrong CHAP response" : "CHAP out of order, or none that we allow"};
  }
  // It wants to go on, and never said how it would authenticate.
  if (request_.transit && auth_->required() && !asked && !auth_->begun()) {
    return Refusal{LoginStatus::authentication_failure, "no authentication was offered"};
  }
  return std::nullopt;
}

// What we must say ourselves, once.
void LoginFsm::declare() {
  if (std::exchange(declared_, true)) return;
  auto offers = negotiation_->offers();
  replies_.insert(replies_.end(), std::make_move_iterator(offers.begin()), std::make_move_iterator(offers.end()));
}

// ---- answers -------------------------------------------------------------------------------------------------------

LoginFsm::Step LoginFsm::answer() {
  if (outgoing_.size() > segment_max()) return send(false, true, segment_max());
  const bool transit = request_.transit && auth_->may_leave();
  if (transit && request_.next == Stage::full_feature) {
    if (!declared_) {  // straight from the security stage
      declare();
      const auto more = iscsi::encode_text(std::exchange(replies_, {}));
      outgoing_.insert(outgoing_.end(), more.begin(), more.end());
      if (outgoing_.size() > segment_max()) return send(false, true, segment_max());
    }
    return Admit{admission()};
  }
  Send sent = send(transit, false, outgoing_.size());
  if (transit) stage_ = request_.next;
  return sent;
}

LoginFsm::Send LoginFsm::send(bool transit, bool continued, std::size_t bytes) {
  const LoginResponse response{.transit = transit,
                               .continued = continued,
                               .current = stage_,
                               .next = transit ? request_.next : Stage::security,
                               .tsih = first_.tsih};
  Send sent{encode_response(response, std::span(outgoing_).first(bytes))};
  outgoing_.erase(outgoing_.begin(), outgoing_.begin() + static_cast<std::ptrdiff_t>(bytes));
  ++stat_sn_;
  return sent;
}

LoginFsm::Send LoginFsm::admitted(std::uint16_t tsih, const std::optional<CommandNumbers>& numbers) {
  session_numbers_ = numbers;
  first_.tsih = tsih;
  return send(true, false, outgoing_.size());
}

LoginFsm::Refuse LoginFsm::refused(LoginStatus status, std::string_view why) {
  return refuse({status, why});
}

LoginFsm::Refuse LoginFsm::refuse(const Refusal& refusal) {
  const LoginResponse response{
      .current = request_.current, .next = Stage::security, .tsih = request_.tsih, .status = refusal.status};
  return {
      .pdu = encode_response(response, iscsi::encode_text(refusal.text)), .status = refusal.status, .why = refusal.why};
}

std::vector<std::byte> LoginFsm::encode_response(LoginResponse response, std::span<const std::byte> text) const {
  const CommandNumbers window = numbers();
  response.version_max = version;
  response.version_active = version;
  response.data_length = static_cast<std::uint32_t>(text.size());
  response.isid = request_.isid;
  response.itt = request_.itt;
  response.stat_sn = stat_sn_;
  response.exp_cmd_sn = window.expected;
  response.max_cmd_sn = window.max;
  std::vector<std::byte> pdu(iscsi::bhs_bytes + iscsi::padded(text.size()));
  iscsi::encode(response, std::span(pdu).first<iscsi::bhs_bytes>());
  std::ranges::copy(text, pdu.begin() + iscsi::bhs_bytes);
  return pdu;
}

CommandNumbers LoginFsm::numbers() const {
  if (session_numbers_) return *session_numbers_;
  // The session that it joins has numbers of its own, which we do not know here. A MaxCmdSN this far back makes an
  // initiator ignore both (RFC 7143, 4.2.2.1).
  if (first_.tsih != 0 && request_.tsih != 0) return {.expected = request_.cmd_sn, .max = request_.cmd_sn - 2};
  const std::uint32_t window = target_ != nullptr ? std::max(target_->window, 1U) : discovery_window;
  return {.expected = request_.cmd_sn, .max = request_.cmd_sn + window - 1};
}

// During the login nobody needs to take more than the default, and some declare less.
std::size_t LoginFsm::segment_max() const {
  return std::min(negotiation_->finish().send_segment_max, iscsi::limits::data_segment_default);
}

Admission LoginFsm::admission() const {
  return {.discovery = discovery_,
          .target = target_,
          .portal_group = portal_group_,
          .initiator_name = initiator_name_,
          .initiator_alias = initiator_alias_,
          .isid = first_.isid,
          .tsih = first_.tsih,
          .cid = first_.cid,
          .user = auth_->user(),
          .remote = origin_.remote,
          .local = iscsi::format_target_address(origin_.local),
          .parameters = negotiation_->finish()};
}

}  // namespace mpath::target
