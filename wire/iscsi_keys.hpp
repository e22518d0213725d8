// Login keys of RFC 7143, section 13, as one table, and the negotiation that follows from it, for both sides.
//
// Pure. A Negotiation lives for one login: offers() is what this side says unasked, take() answers and concludes what
// the peer said, finish() gives what both hold to from then on. Keys that declare who somebody is, and those of the
// authentication, are checked against the table and handed back to the caller.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "wire/iscsi_limits.hpp"
#include "wire/iscsi_text.hpp"

namespace mpath::iscsi {

enum class Key : std::uint8_t {
  auth_method,
  chap_a,
  chap_i,
  chap_c,
  chap_n,
  chap_r,
  header_digest,
  data_digest,
  max_connections,
  send_targets,
  target_name,
  initiator_name,
  target_alias,
  initiator_alias,
  target_address,
  target_portal_group_tag,
  initial_r2t,
  immediate_data,
  max_recv_data_segment_length,
  max_burst_length,
  first_burst_length,
  default_time2wait,
  default_time2retain,
  max_outstanding_r2t,
  data_pdu_in_order,
  data_sequence_in_order,
  error_recovery_level,
  session_type,
  task_reporting,
  protocol_level,
  if_marker,
  of_marker,
  if_mark_int,
  of_mark_int,
};

enum class Rule : std::uint8_t {
  declare,         // stated by one side, never answered
  choose,          // list in order of preference; the answer is one item of it
  both,            // Yes when both say Yes
  either,          // Yes when one says Yes
  minimum,         // the smaller number
  maximum,         // the larger number
  authenticate,    // part of the CHAP exchange
  obsolete_no,     // markers: answered No
  obsolete_reject  // marker intervals: answered Reject
};

enum class Phase : std::uint8_t { security, login, full_feature, any };
enum class Sender : std::uint8_t { initiator, target, both };

struct KeySpec {
  Key id;
  std::string_view name;
  Rule rule;
  std::string_view fallback;  // the value when nobody says anything
  std::uint64_t least;        // range of numbers; for text 0 and the longest length
  std::uint64_t most;
  Phase phase;
  Sender sender;
  bool normal_only;  // Irrelevant in a discovery session
};

[[nodiscard]] std::span<const KeySpec> key_table();
[[nodiscard]] const KeySpec* find_key(std::string_view name);
[[nodiscard]] const KeySpec& key_spec(Key key);

inline constexpr std::string_view reply_not_understood = "NotUnderstood";
inline constexpr std::string_view reply_irrelevant = "Irrelevant";
inline constexpr std::string_view reply_reject = "Reject";

// The responder's answer to `offer` when it would itself like `own`: one of the words above, or the outcome. "Reject"
// when the offer is none that the key allows. Not for declarations.
[[nodiscard]] std::string respond(const KeySpec& spec, std::string_view offer, std::string_view own);
// What holds after `reply` to our `offer`; the fallback when the peer does not know the key or finds it irrelevant.
// Fails with bad_field when the reply is none that the offer allows, a rejection included.
[[nodiscard]] Result<std::string> conclude(const KeySpec& spec, std::string_view offer, std::string_view reply);
// Whether `value` is one that the key may have.
[[nodiscard]] bool valid_value(const KeySpec& spec, std::string_view value);

enum class Side : std::uint8_t { initiator, target };

// What a side would like.
struct Wishes {
  bool discovery = false;
  std::string header_digests = "None";  // in order of preference: "CRC32C,None"
  std::string data_digests = "None";
  std::uint32_t receive_segment_max = 262144;  // our MaxRecvDataSegmentLength
  std::uint32_t max_connections = 1;
  bool initial_r2t = false;
  bool immediate_data = true;
  std::uint32_t max_burst = 262144;
  std::uint32_t first_burst = 65536;
  std::uint32_t time2wait = 2;
  std::uint32_t time2retain = 0;
  std::uint32_t max_outstanding_r2t = 1;
  std::uint32_t error_recovery_level = 0;
};

// What holds in full feature phase. The defaults are those of the RFC.
struct Parameters {
  bool header_digest = false;
  bool data_digest = false;
  std::uint32_t receive_segment_max = limits::data_segment_default;  // what we declared
  std::uint32_t send_segment_max = limits::data_segment_default;     // what the peer declared
  std::uint32_t max_connections = 1;
  bool initial_r2t = true;
  bool immediate_data = true;
  std::uint32_t max_burst = 262144;
  std::uint32_t first_burst = 65536;
  std::uint32_t time2wait = 2;
  std::uint32_t time2retain = 20;
  std::uint32_t max_outstanding_r2t = 1;
  bool data_pdu_in_order = true;
  bool data_sequence_in_order = true;
  std::uint32_t error_recovery_level = 0;
  friend bool operator==(const Parameters&, const Parameters&) = default;
};

class Negotiation {
 public:
  Negotiation(Side side, Wishes wishes) : side_(side), wishes_(std::move(wishes)) {}

  // Operational keys to send with the first PDU of the operational stage. An initiator proposes everything, a target
  // only declares what it must. Those the peer has proposed already are left out.
  [[nodiscard]] KeyValues offers();

  struct Taken {
    KeyValues replies;  // to go out with our next PDU
    KeyValues others;   // who somebody is, and authentication: for the caller
  };
  // Fails with bad_field: a key twice, from the wrong side, with a value it cannot have, or an answer that is none.
  [[nodiscard]] Result<Taken> take(std::span<const KeyValue> received);

  // What was agreed; keys nobody answered have their fallback. FirstBurstLength is held to MaxBurstLength.
  [[nodiscard]] Parameters finish() const;

 private:
  [[nodiscard]] error_code take_known(const KeySpec& spec, const KeyValue& pair, Taken& taken);
  [[nodiscard]] error_code take_declaration(const KeySpec& spec, const KeyValue& pair, Taken& taken);

  // Constant after construction.
  Side side_;
  Wishes wishes_;
  // Grows with the login.
  Parameters agreed_;
  KeyValues offered_;  // by us, not answered yet
  std::set<std::string> seen_;
  std::set<Key> settled_;
};

}  // namespace mpath::iscsi
