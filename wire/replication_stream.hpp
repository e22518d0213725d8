// What one logical unit's two copies tell each other: its writes, its SCSI state, and the filling of a copy that lacks
// something. One stream a unit, from the node that serves to the one that follows; how the nodes agree on who is who is
// in wire/replication.hpp.
//
//   leader ── write, zero, flush, state, sums, fill_end, map_taken ──► follower
//   leader ◄───────────── ack, received, sums_answer, map ──────────── follower
//   both, first of all, if they are told anything but C: protocol
//
// A message: a head with a checksum of its own, then `body_bytes` of body, of which the head has the checksum. From
// version 2 on a stream goes over several connections, its links: each message has its number on the stream, and says
// up to which one those of the other direction have come.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/block_device.hpp"
#include "base/result.hpp"
#include "wire/replication.hpp"

namespace mpath::replication {

// On the wire: never renumber.
enum class StreamOp : std::uint8_t {
  write = 1,        // body: `length` bytes for `offset`
  zero = 2,         // `length` bytes at `offset` read as zeroes; no body
  flush = 3,        // everything acknowledged before is on the medium when it is acknowledged
  state = 4,        // body: the SCSI state of the unit, as encode_lu_state() has it
  sums = 5,         // body: a Sum for each sum_block_bytes of `length` bytes at `offset`: what differs?
  fill_end = 6,     // nothing differs any more: acknowledged when all of it is on the medium
  map_taken = 7,    // the leader has noted what the follower's map says: the follower may forget it
  ack = 8,          // of `sequence`; `status` is ok, or why the follower's medium could not take it
  sums_answer = 9,  // of `sequence`; body: a bit for each Sum, lowest first; 1: it differs
  map = 10,         // body: the follower's extents that may differ, as bits from extent `offset` on; `length` extents.
                    // `last`: there are no more
  link = 11,        // about this connection only, not numbered; only `seen` counts. `sequence`: a question, if `last`,
                    // whether this way leads anywhere, or the answer to it, over the same connection
  // From version 3 on.
  protocol = 12,  // `sequence`: the Protocol that the sender is told to use; without it: C
  received = 13,  // of `sequence`: it came, and is carried out unless this process ends; the ack follows
};

// When a write is answered: the words of DRBD, by rising strictness. On the wire: never renumber.
enum class Protocol : std::uint8_t {
  a = 1,  // when it is here, and on its way to the other node
  b = 2,  // when it is here, and the other node has it in memory
  c = 3,  // when both have it
};
[[nodiscard]] constexpr char letter(Protocol protocol) {
  return protocol == Protocol::a ? 'A' : protocol == Protocol::b ? 'B' : 'C';
}

struct StreamHead {
  StreamOp op = StreamOp::ack;
  bool fua = false;                      // write, zero: on the medium before it is acknowledged
  bool atomic = false;                   // write: all or nothing, also against a loss of power
  bool fill = false;                     // write, zero: of the filling, not an initiator's: for the counters
  bool may_unmap = false;                // zero: the range may be deallocated
  bool last = false;                     // map, link
  bool receipt = false;                  // write, zero: `received` is wanted, before the ack. From version 3 on
  BlockStatus status = BlockStatus::ok;  // ack
  std::uint64_t sequence = 0;            // of the request; answers repeat it. 0: asks for no answer (map_taken, map)
  std::uint64_t offset = 0;              // bytes; map: extents
  std::uint64_t length = 0;              // bytes; map: extents
  std::uint32_t body_bytes = 0;
  // From version 2 on; those who carry messages fill them in, nobody else looks at them.
  std::uint64_t number = 0;  // on the stream, in this direction: 1, 2 ...; 0: link
  std::uint64_t seen = 0;    // all messages of the other direction up to this one have come
  bool operator==(const StreamHead&) const = default;
};

inline constexpr std::uint16_t stream_version_min = 1, stream_version = 4;  // that this program speaks
inline constexpr std::uint16_t stream_version_tls = 4;                         // the first with StreamAuth::tls
inline constexpr std::size_t stream_head_bytes_max = 64;
[[nodiscard]] constexpr std::size_t stream_head_bytes(std::uint16_t version) {
  return version == 1 ? 48 : stream_head_bytes_max;
}
inline constexpr std::uint32_t stream_body_bytes_max = 16 << 20;  // the largest transfer of a unit, and some
inline constexpr std::uint32_t sum_block_bytes = 64 << 10;
using Sum = std::array<std::byte, 16>;  // the first half of SHA-256

// Into `place`, of stream_head_bytes(version). `body_checksum`: CRC32C of the body; 0 when there is none. A head that
// the peer would not take is a bug.
void encode_stream_head(const StreamHead& head, std::uint32_t body_checksum, std::uint16_t version,
                        std::span<std::byte> place);
struct DecodedStreamHead {
  StreamHead head;
  std::uint32_t body_checksum = 0;
};
// Fails with WireErrc::truncated, ::bad_digest (of the head), ::bad_version (not `version`), ::bad_opcode, ::bad_field
// (a flag that does not belong to the op, an unknown status, a range that wraps, a number where there is none) or
// ::bad_length (a body that is too long, or not what the op has).
[[nodiscard]] Result<DecodedStreamHead> decode_stream_head(std::span<const std::byte> bytes, std::uint16_t version);
// Whether the op is answered by an ack or a sums_answer that repeats its sequence.
[[nodiscard]] constexpr bool asks_for_answer(const StreamHead& head) {
  switch (head.op) {
    case StreamOp::write:
    case StreamOp::zero:
    case StreamOp::flush:
    case StreamOp::state:
    case StreamOp::sums:
    case StreamOp::fill_end:
      return head.sequence != 0;
    case StreamOp::map_taken:
    case StreamOp::ack:
    case StreamOp::sums_answer:
    case StreamOp::map:
    case StreamOp::link:
    case StreamOp::protocol:
    case StreamOp::received:
      return false;
  }
  return false;
}
// Whether it repeats the sequence of what it answers.
[[nodiscard]] constexpr bool is_answer(const StreamHead& head) {
  return head.op == StreamOp::ack || head.op == StreamOp::sums_answer || head.op == StreamOp::received;
}

// ---- the handshake: the leader connects ----------------------------------------------------------------------------
//
//   leader ── Hello{nonce} ──► follower      leader ◄── Welcome{nonce, proof of the key} ── follower
//   leader ── Proof ──► follower             leader ◄── Ready, or Refused{why} ── follower
//
// Both prove that they have the cluster's key over both nonces and everything that was said, so that neither can be
// repeated nor turned around. What the follower says after the leader's proof is proved too.
//
// A message: magic, kind, length; then its fields; then, but for Hello, the proof over everything that was said on the
// connection up to there. The layout stays: a later version adds fields behind those that are there, and whoever does
// not know them passes over them, so that each can say which versions it speaks.

inline constexpr std::size_t nonce_bytes = 32;
using Nonce = std::array<std::byte, nonce_bytes>;
using Proof = std::array<std::byte, 32>;  // HMAC-SHA256

// How the messages after the handshake are protected, besides their checksums. Ordered: the stronger of what both sides
// want is taken. On the wire: never renumber.
enum class StreamAuth : std::uint8_t {
  none = 0,
  hmac = 1,  // each carries stream_tag_bytes of HMAC-SHA256 over its number on the connection, its head and its body
  tls = 2,   // behind Ready begins TLS 1.3, whose client is the leader. From version 4 on
};
// As mptarget.conf says it.
[[nodiscard]] constexpr const char* name(StreamAuth auth) {
  switch (auth) {
    case StreamAuth::none:
      return "none";
    case StreamAuth::hmac:
      return "hmac-sha256";
    case StreamAuth::tls:
      return "tls";
  }
  return "?";
}
inline constexpr std::size_t stream_tag_bytes = 16;

struct Hello {
  std::uint16_t version_min = stream_version_min,
                version_max = stream_version;  // of this protocol: both may differ while nodes are upgraded
  std::array<std::byte, 16> cluster{};
  std::array<std::byte, 16> unit{};  // its UUID
  std::string unit_name;             // for people
  Member from = Member::a;
  std::uint64_t incarnation = 0;  // of the sender's life
  View view;                      // that the leader leads under
  std::uint64_t size_bytes = 0;
  std::uint32_t block_bytes = 0;
  std::uint64_t extent_bytes = 0;      // of the map
  StreamAuth auth = StreamAuth::none;  // wanted at least
  Nonce nonce{};
  // From version 2 on.
  std::uint64_t stream = 0;  // which one this connection belongs to: chosen by the leader for each it begins
  std::uint8_t link = 0;     // by which of the configured pairs of addresses it goes
  bool joins = false;        // the stream is there already: one more link for it
  bool operator==(const Hello&) const = default;
};
inline constexpr std::size_t stream_links_max = 8;

struct Welcome {
  std::uint16_t version = stream_version;  // chosen; one that the leader does not speak when there is no common one
  Member from = Member::b;
  std::uint64_t incarnation = 0;
  StreamAuth auth = StreamAuth::none;  // chosen
  Nonce nonce{};
  Proof proof{};  // as encoded; Transcript::prove() puts the right one there
  bool operator==(const Welcome&) const = default;
};

enum class StreamRefusal : std::uint8_t {
  none = 0,
  version = 1,    // no common version
  cluster = 2,    // of another cluster, or another key
  unit = 3,       // there is no such unit here, or it is offline
  shape = 4,      // another size, block size or extent size: `text` has both
  outdated = 5,   // the follower knows a newer view, or another leader
  unprepared = 6  // not now: try again
};

struct Ready {
  StreamRefusal refusal = StreamRefusal::none;
  std::string text;  // for people; cut at handshake_text_max
  Proof proof{};     // as in Welcome
  bool operator==(const Ready&) const = default;
};

inline constexpr std::size_t handshake_prefix_bytes = 8;
inline constexpr std::size_t handshake_bytes_max = 1024;  // of a message; nothing longer is received
inline constexpr std::size_t handshake_text_max = 512;

// How long the message is that begins with these handshake_prefix_bytes, prefix and proof included. Fails with
// WireErrc::truncated, ::bad_opcode (not a message of this protocol) or ::bad_length.
[[nodiscard]] Result<std::size_t> handshake_length(std::span<const std::byte> prefix);

[[nodiscard]] std::vector<std::byte> encode(const Hello& hello);  // a name that is too long is cut
[[nodiscard]] std::vector<std::byte> encode(const Welcome& welcome);
[[nodiscard]] std::vector<std::byte> encode(const Proof& proof);
[[nodiscard]] std::vector<std::byte> encode(const Ready& ready);
// The whole of `bytes` is one message. Fail with WireErrc::truncated, ::trailing, ::bad_opcode (another message),
// ::bad_field or ::bad_length. Proofs are not looked at.
[[nodiscard]] Result<Hello> decode_hello(std::span<const std::byte> bytes);
[[nodiscard]] Result<Welcome> decode_welcome(std::span<const std::byte> bytes);
[[nodiscard]] Result<Proof> decode_proof(std::span<const std::byte> bytes);
[[nodiscard]] Result<Ready> decode_ready(std::span<const std::byte> bytes);

// By which name the leader offers a key in TLS: "mptarget CLUSTER node-a key-0123abcd", with a name of the cluster that is
// too long cut. The last word tells keys apart while the old one is still accepted, and says nothing else about them.
[[nodiscard]] std::string tls_key_name(std::string_view cluster, Member leader, const Key& key);

// What was said on a connection, and what is proved about it. Both ends add the same bytes in the same order.
class Transcript {
 public:
  // Each says something else, so that no proof can be given back as another. Their texts are on the wire.
  enum class Label : std::uint8_t {
    welcome,            // by the follower
    proof,              // by the leader
    ready,              // by the follower
    leader_messages,    // the key of StreamAuth::hmac from the leader to the follower
    follower_messages,  // and back
  };

  void add_hello(std::span<const std::byte> hello);
  // Adds the rest of `message`, a whole Welcome, Proof or Ready, and writes its proof.
  void prove(std::span<std::byte> message, const Key& key, Label label);
  // Adds the rest of `message`. The first of `keys` that its proof is right by; no value when there is none. Takes as
  // long for a wrong proof whatever is wrong with it.
  [[nodiscard]] std::optional<Key> check(std::span<const std::byte> message, std::span<const Key> keys, Label label);
  [[nodiscard]] Key derive(const Key& key, Label label) const;
  // The key of StreamAuth::tls, for this connection only, by the name under which it is offered there.
  [[nodiscard]] Key derive_tls(const Key& key, std::string_view key_name) const;

 private:
  void add(std::span<const std::byte> bytes);
  std::vector<std::byte> said_;
};

}  // namespace mpath::replication
