#include "wire/iscsi_keys.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.hpp"
#include "wire/error.hpp"

namespace mpath::iscsi {
namespace {

constexpr std::uint64_t segment_most = limits::data_segment_max;
constexpr std::uint64_t text_most = limits::value_bytes_max;
constexpr std::uint64_t large_most = limits::large_value_bytes_max;

// In the order of the enumeration.
constexpr std::array table = {
    KeySpec{Key::auth_method, "AuthMethod", Rule::authenticate, "None", 0, text_most, Phase::security, Sender::both,
            false},
    KeySpec{Key::chap_a, "CHAP_A", Rule::authenticate, "", 0, text_most, Phase::security, Sender::both, false},
    KeySpec{Key::chap_i, "CHAP_I", Rule::authenticate, "", 0, text_most, Phase::security, Sender::both, false},
    KeySpec{Key::chap_c, "CHAP_C", Rule::authenticate, "", 0, large_most, Phase::security, Sender::both, false},
    KeySpec{Key::chap_n, "CHAP_N", Rule::authenticate, "", 0, text_most, Phase::security, Sender::both, false},
    KeySpec{Key::chap_r, "CHAP_R", Rule::authenticate, "", 0, large_most, Phase::security, Sender::both, false},
    KeySpec{Key::header_digest, "HeaderDigest", Rule::choose, "None", 0, text_most, Phase::login, Sender::both, false},
    KeySpec{Key::data_digest, "DataDigest", Rule::choose, "None", 0, text_most, Phase::login, Sender::both, false},
    KeySpec{Key::max_connections, "MaxConnections", Rule::minimum, "1", 1, 65535, Phase::login, Sender::both, true},
    KeySpec{Key::send_targets, "SendTargets", Rule::declare, "", 0, text_most, Phase::full_feature, Sender::initiator,
            false},
    KeySpec{Key::target_name, "TargetName", Rule::declare, "", 0, 223, Phase::any, Sender::both, false},
    KeySpec{Key::initiator_name, "InitiatorName", Rule::declare, "", 0, 223, Phase::any, Sender::initiator, false},
    KeySpec{Key::target_alias, "TargetAlias", Rule::declare, "", 0, text_most, Phase::any, Sender::target, false},
    KeySpec{Key::initiator_alias, "InitiatorAlias", Rule::declare, "", 0, text_most, Phase::any, Sender::initiator,
            false},
    KeySpec{Key::target_address, "TargetAddress", Rule::declare, "", 0, text_most, Phase::any, Sender::target, false},
    KeySpec{Key::target_portal_group_tag, "TargetPortalGroupTag", Rule::declare, "", 0, 65535, Phase::any,
            Sender::target, false},
    KeySpec{Key::initial_r2t, "InitialR2T", Rule::either, "Yes", 0, 0, Phase::login, Sender::both, true},
    KeySpec{Key::immediate_data, "ImmediateData", Rule::both, "Yes", 0, 0, Phase::login, Sender::both, true},
    KeySpec{Key::max_recv_data_segment_length, "MaxRecvDataSegmentLength", Rule::declare, "8192",
            limits::data_segment_min, segment_most, Phase::any, Sender::both, false},
    KeySpec{Key::max_burst_length, "MaxBurstLength", Rule::minimum, "262144", 512, segment_most, Phase::login,
            Sender::both, true},
    KeySpec{Key::first_burst_length, "FirstBurstLength", Rule::minimum, "65536", 512, segment_most, Phase::login,
            Sender::both, true},
    KeySpec{Key::default_time2wait, "DefaultTime2Wait", Rule::maximum, "2", 0, 3600, Phase::login, Sender::both, false},
    KeySpec{Key::default_time2retain, "DefaultTime2Retain", Rule::minimum, "20", 0, 3600, Phase::login, Sender::both,
            false},
    KeySpec{Key::max_outstanding_r2t, "MaxOutstandingR2T", Rule::minimum, "1", 1, 65535, Phase::login, Sender::both,
            true},
    KeySpec{Key::data_pdu_in_order, "DataPDUInOrder", Rule::either, "Yes", 0, 0, Phase::login, Sender::both, true},
    KeySpec{Key::data_sequence_in_order, "DataSequenceInOrder", Rule::either, "Yes", 0, 0, Phase::login, Sender::both,
            true},
    KeySpec{Key::error_recovery_level, "ErrorRecoveryLevel", Rule::minimum, "0", 0, 2, Phase::login, Sender::both,
            false},
    KeySpec{Key::session_type, "SessionType", Rule::declare, "Normal", 0, text_most, Phase::login, Sender::initiator,
            false},
    KeySpec{Key::task_reporting, "TaskReporting", Rule::choose, "RFC3720", 0, text_most, Phase::login, Sender::both,
            true},
    KeySpec{Key::protocol_level, "iSCSIProtocolLevel", Rule::minimum, "1", 0, 31, Phase::login, Sender::both, true},
    KeySpec{Key::if_marker, "IFMarker", Rule::obsolete_no, "No", 0, 0, Phase::login, Sender::both, false},
    KeySpec{Key::of_marker, "OFMarker", Rule::obsolete_no, "No", 0, 0, Phase::login, Sender::both, false},
    KeySpec{Key::if_mark_int, "IFMarkInt", Rule::obsolete_reject, "", 0, 0, Phase::login, Sender::both, false},
    KeySpec{Key::of_mark_int, "OFMarkInt", Rule::obsolete_reject, "", 0, 0, Phase::login, Sender::both, false},
};

constexpr bool table_in_order() {
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (std::to_underlying(table[i].id) != i) return false;
  }
  return true;
}
static_assert(table_in_order());

bool is_yes_or_no(std::string_view value) {
  return value == "Yes" || value == "No";
}
std::string yes_no(bool value) {
  return value ? "Yes" : "No";
}

bool in_range(const KeySpec& spec, std::string_view value) {
  const auto number = parse_number(value);
  return number && *number >= spec.least && *number <= spec.most;
}

bool holds(std::string_view list, std::string_view item) {
  const auto items = split_list(list);
  return !item.empty() && std::ranges::find(items, item) != items.end();
}

// The first item of the offer that we have too.
std::string first_common(std::string_view offer, std::string_view own) {
  for (const std::string_view item : split_list(offer)) {
    if (holds(own, item)) return std::string(item);
  }
  return std::string(reply_reject);
}

std::uint32_t number_of(std::string_view value) {
  return static_cast<std::uint32_t>(parse_number(value).value_or(0));
}

// What this side says about `key` when it speaks; empty when it has no wish.
std::string wish(const Wishes& wishes, Key key) {
  switch (key) {
    case Key::header_digest:
      return wishes.header_digests;
    case Key::data_digest:
      return wishes.data_digests;
    case Key::max_connections:
      return std::to_string(wishes.max_connections);
    case Key::initial_r2t:
      return yes_no(wishes.initial_r2t);
    case Key::immediate_data:
      return yes_no(wishes.immediate_data);
    case Key::max_recv_data_segment_length:
      return std::to_string(wishes.receive_segment_max);
    case Key::max_burst_length:
      return std::to_string(wishes.max_burst);
    case Key::first_burst_length:
      return std::to_string(std::min(wishes.first_burst, wishes.max_burst));
    case Key::default_time2wait:
      return std::to_string(wishes.time2wait);
    case Key::default_time2retain:
      return std::to_string(wishes.time2retain);
    case Key::max_outstanding_r2t:
      return std::to_string(wishes.max_outstanding_r2t);
    case Key::data_pdu_in_order:
    case Key::data_sequence_in_order:
      return "Yes";
    case Key::error_recovery_level:
      return std::to_string(wishes.error_recovery_level);
    case Key::task_reporting:
      return "RFC3720";
    case Key::protocol_level:
      return "1";
    case Key::auth_method:
    case Key::chap_a:
    case Key::chap_i:
    case Key::chap_c:
    case Key::chap_n:
    case Key::chap_r:
    case Key::send_targets:
    case Key::target_name:
    case Key::initiator_name:
    case Key::target_alias:
    case Key::initiator_alias:
    case Key::target_address:
    case Key::target_portal_group_tag:
    case Key::session_type:
    case Key::if_marker:
    case Key::of_marker:
    case Key::if_mark_int:
    case Key::of_mark_int:
      return {};
  }
  return {};
}

void agree(Parameters& parameters, Key key, std::string_view value) {
  switch (key) {
    case Key::header_digest:
      parameters.header_digest = value == "CRC32C";
      break;
    case Key::data_digest:
      parameters.data_digest = value == "CRC32C";
      break;
    case Key::max_connections:
      parameters.max_connections = number_of(value);
      break;
    case Key::initial_r2t:
      parameters.initial_r2t = value == "Yes";
      break;
    case Key::immediate_data:
      parameters.immediate_data = value == "Yes";
      break;
    case Key::max_recv_data_segment_length:
      parameters.send_segment_max = number_of(value);
      break;
    case Key::max_burst_length:
      parameters.max_burst = number_of(value);
      break;
    case Key::first_burst_length:
      parameters.first_burst = number_of(value);
      break;
    case Key::default_time2wait:
      parameters.time2wait = number_of(value);
      break;
    case Key::default_time2retain:
      parameters.time2retain = number_of(value);
      break;
    case Key::max_outstanding_r2t:
      parameters.max_outstanding_r2t = number_of(value);
      break;
    case Key::data_pdu_in_order:
      parameters.data_pdu_in_order = value == "Yes";
      break;
    case Key::data_sequence_in_order:
      parameters.data_sequence_in_order = value == "Yes";
      break;
    case Key::error_recovery_level:
      parameters.error_recovery_level = number_of(value);
      break;
    case Key::auth_method:
    case Key::chap_a:
    case Key::chap_i:
    case Key::chap_c:
    case Key::chap_n:
    case Key::chap_r:
    case Key::send_targets:
    case Key::target_name:
    case Key::initiator_name:
    case Key::target_alias:
    case Key::initiator_alias:
    case Key::target_address:
    case Key::target_portal_group_tag:
    case Key::session_type:
    case Key::task_reporting:
    case Key::protocol_level:
    case Key::if_marker:
    case Key::of_marker:
    case Key::if_mark_int:
    case Key::of_mark_int:
      break;
  }
}

// Keys that an initiator proposes at the start of the operational stage.
constexpr Key proposed[] = {Key::header_digest,     Key::data_digest,           Key::max_recv_data_segment_length,
                            Key::default_time2wait, Key::default_time2retain,   Key::error_recovery_level,
                            Key::max_connections,   Key::initial_r2t,           Key::immediate_data,
                            Key::max_burst_length,  Key::first_burst_length,    Key::max_outstanding_r2t,
                            Key::data_pdu_in_order, Key::data_sequence_in_order};

}  // namespace

std::span<const KeySpec> key_table() {
  return table;
}

const KeySpec* find_key(std::string_view name) {
  const auto found = std::ranges::find(table, name, &KeySpec::name);
  return found == table.end() ? nullptr : &*found;
}

const KeySpec& key_spec(Key key) {
  CHECK(std::to_underlying(key) < table.size());
  return table[std::to_underlying(key)];
}

bool valid_value(const KeySpec& spec, std::string_view value) {
  switch (spec.rule) {
    case Rule::both:
    case Rule::either:
    case Rule::obsolete_no:
      return is_yes_or_no(value);
    case Rule::minimum:
    case Rule::maximum:
      return in_range(spec, value);
    case Rule::declare:
      if (spec.id == Key::max_recv_data_segment_length || spec.id == Key::target_portal_group_tag)
        return in_range(spec, value);
      if (spec.id == Key::session_type) return value == "Normal" || value == "Discovery";
      if (spec.id == Key::target_name || spec.id == Key::initiator_name) return valid_iscsi_name(value);
      return value.size() <= spec.most;
    case Rule::choose:
    case Rule::authenticate:
      return !value.empty() && value.size() <= spec.most;
    case Rule::obsolete_reject:
      return true;
  }
  return false;
}

std::string respond(const KeySpec& spec, std::string_view offer, std::string_view own) {
  if (!valid_value(spec, offer)) return std::string(reply_reject);
  switch (spec.rule) {
    case Rule::choose:
    case Rule::authenticate:
      return first_common(offer, own);
    case Rule::both:
      return yes_no(offer == "Yes" && own == "Yes");
    case Rule::either:
      return yes_no(offer == "Yes" || own == "Yes");
    case Rule::minimum:
      return std::to_string(std::min(number_of(offer), number_of(own)));
    case Rule::maximum:
      return std::to_string(std::max(number_of(offer), number_of(own)));
    case Rule::obsolete_no:
      return "No";
    case Rule::obsolete_reject:
    case Rule::declare:
      return std::string(reply_reject);
  }
  return std::string(reply_reject);
}

Result<std::string> conclude(const KeySpec& spec, std::string_view offer, std::string_view reply) {
  if (reply == reply_not_understood || reply == reply_irrelevant) return std::string(spec.fallback);
  if (!valid_value(spec, reply)) return failure(WireErrc::bad_field);
  bool allowed = false;
  switch (spec.rule) {
    case Rule::choose:
    case Rule::authenticate:
      allowed = holds(offer, reply);
      break;
    case Rule::both:
      allowed = offer == "Yes" || reply == "No";
      break;
    case Rule::either:
      allowed = offer == "No" || reply == "Yes";
      break;
    case Rule::minimum:
      allowed = number_of(reply) <= number_of(offer);
      break;
    case Rule::maximum:
      allowed = number_of(reply) >= number_of(offer);
      break;
    case Rule::obsolete_no:
      allowed = reply == "No";
      break;
    case Rule::obsolete_reject:
    case Rule::declare:
      break;
  }
  if (!allowed) return failure(WireErrc::bad_field);
  return std::string(reply);
}

KeyValues Negotiation::offers() {
  agreed_.receive_segment_max = wishes_.receive_segment_max;
  KeyValues pairs;
  for (const Key key : proposed) {
    const KeySpec& spec = key_spec(key);
    const bool declaration = spec.rule == Rule::declare;
    if (side_ == Side::target && !declaration) continue;
    if (wishes_.discovery && spec.normal_only) continue;
    if (!declaration && settled_.contains(key)) continue;
    pairs.push_back({.key = std::string(spec.name), .value = wish(wishes_, key)});
    if (!declaration) offered_.push_back(pairs.back());
  }
  return pairs;
}

Result<Negotiation::Taken> Negotiation::take(std::span<const KeyValue> received) {
  Taken taken;
  for (const KeyValue& pair : received) {
    const KeySpec* spec = find_key(pair.key);
    if (spec == nullptr) {
      if (pair.value != reply_not_understood) {
        taken.replies.push_back({.key = pair.key, .value = std::string(reply_not_understood)});
      }
      continue;
    }
    if (const error_code error = take_known(*spec, pair, taken)) return std::unexpected(error);
  }
  return taken;
}

error_code Negotiation::take_known(const KeySpec& spec, const KeyValue& pair, Taken& taken) {
  if (!seen_.insert(pair.key).second && spec.rule != Rule::authenticate && spec.id != Key::target_address) {
    return WireErrc::bad_field;
  }
  if (spec.rule == Rule::declare) return take_declaration(spec, pair, taken);
  if (spec.rule == Rule::authenticate) {
    if (!valid_value(spec, pair.value)) return WireErrc::bad_field;
    taken.others.push_back(pair);
    return {};
  }
  const auto ours = std::ranges::find(offered_, pair.key, &KeyValue::key);
  if (ours != offered_.end()) {
    const auto value = conclude(spec, ours->value, pair.value);
    if (!value) return value.error();
    agree(agreed_, spec.id, *value);
    offered_.erase(ours);
    settled_.insert(spec.id);
    return {};
  }
  std::string reply;
  if (wishes_.discovery && spec.normal_only) {
    reply = reply_irrelevant;
  } else {
    reply = respond(spec, pair.value, wish(wishes_, spec.id));
    if (reply != reply_reject) agree(agreed_, spec.id, reply);
  }
  settled_.insert(spec.id);
  taken.replies.push_back({.key = pair.key, .value = std::move(reply)});
  return {};
}

error_code Negotiation::take_declaration(const KeySpec& spec, const KeyValue& pair, Taken& taken) {
  const Sender peer = side_ == Side::initiator ? Sender::target : Sender::initiator;
  if (spec.sender != Sender::both && spec.sender != peer) return WireErrc::bad_field;
  if (!valid_value(spec, pair.value)) return WireErrc::bad_field;
  if (spec.id == Key::max_recv_data_segment_length) {
    agree(agreed_, spec.id, pair.value);
  } else {
    taken.others.push_back(pair);
  }
  return {};
}

Parameters Negotiation::finish() const {
  Parameters parameters = agreed_;
  parameters.first_burst = std::min(parameters.first_burst, parameters.max_burst);
  return parameters;
}

}  // namespace mpath::iscsi
