// The NBD protocol, fixed newstyle, both directions (NetworkBlockDevice/nbd, doc/proto.md).
//
// Pure. What has a fixed size is encoded into a span of that size and allocates nothing; handshake messages, which are
// rare, come as vectors. Decoders borrow their bytes; results own what they hold unless they say otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "wire/nbd_limits.hpp"

namespace mpath::nbd {

using Bytes = std::vector<std::byte>;

// All numbers of this header are on the wire: never renumber.

inline constexpr std::uint64_t init_magic = 0x4e42444d41474943;    // "NBDMAGIC"
inline constexpr std::uint64_t option_magic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr std::uint64_t option_reply_magic = 0x0003e889045565a9;
inline constexpr std::uint32_t request_magic = 0x25609513;
inline constexpr std::uint32_t simple_reply_magic = 0x67446698;
inline constexpr std::uint32_t chunk_magic = 0x668e33ef;

namespace handshake_flag {  // server and client use the same bits
inline constexpr std::uint16_t fixed_newstyle = 1 << 0;
inline constexpr std::uint16_t no_zeroes = 1 << 1;
}  // namespace handshake_flag

namespace export_flag {
inline constexpr std::uint16_t has_flags = 1 << 0;
inline constexpr std::uint16_t read_only = 1 << 1;
inline constexpr std::uint16_t send_flush = 1 << 2;
inline constexpr std::uint16_t send_fua = 1 << 3;
inline constexpr std::uint16_t rotational = 1 << 4;
inline constexpr std::uint16_t send_trim = 1 << 5;
inline constexpr std::uint16_t send_write_zeroes = 1 << 6;
inline constexpr std::uint16_t send_df = 1 << 7;
inline constexpr std::uint16_t can_multi_conn = 1 << 8;
inline constexpr std::uint16_t send_resize = 1 << 9;
inline constexpr std::uint16_t send_cache = 1 << 10;
inline constexpr std::uint16_t send_fast_zero = 1 << 11;
}  // namespace export_flag

namespace command_flag {
inline constexpr std::uint16_t fua = 1 << 0;
inline constexpr std::uint16_t no_hole = 1 << 1;
inline constexpr std::uint16_t df = 1 << 2;       // do not fragment: one chunk of data
inline constexpr std::uint16_t req_one = 1 << 3;  // block status: one extent, not beyond the request
inline constexpr std::uint16_t fast_zero = 1 << 4;
}  // namespace command_flag

namespace chunk_flag {
inline constexpr std::uint16_t done = 1 << 0;
}  // namespace chunk_flag

namespace extent_flag {  // of base:allocation
inline constexpr std::uint32_t hole = 1 << 0;
inline constexpr std::uint32_t zero = 1 << 1;
}  // namespace extent_flag

inline constexpr std::string_view base_allocation = "base:allocation";

enum class Option : std::uint32_t {
  export_name = 1,
  abort = 2,
  list = 3,
  starttls = 5,
  info = 6,
  go = 7,
  structured_reply = 8,
  list_meta_context = 9,
  set_meta_context = 10,
  extended_headers = 11,
};

enum class OptionReply : std::uint32_t {
  ack = 1,
  server = 2,
  info = 3,
  meta_context = 4,
  err_unsup = 0x80000001,
  err_policy = 0x80000002,
  err_invalid = 0x80000003,
  err_platform = 0x80000004,
  err_tls_reqd = 0x80000005,
  err_unknown = 0x80000006,
  err_shutdown = 0x80000007,
  err_block_size_reqd = 0x80000008,
  err_too_big = 0x80000009,
  err_ext_header_reqd = 0x8000000a,
};
[[nodiscard]] constexpr bool is_error(OptionReply reply) {
  return static_cast<std::uint32_t>(reply) >> 31 != 0;
}

enum class InfoType : std::uint16_t { export_info = 0, name = 1, description = 2, block_size = 3 };

enum class Command : std::uint16_t {
  read = 0,
  write = 1,
  disconnect = 2,
  flush = 3,
  trim = 4,
  cache = 5,
  write_zeroes = 6,
  block_status = 7,
  resize = 8,
};

enum class ChunkType : std::uint16_t {
  none = 0,
  offset_data = 1,
  offset_hole = 2,
  block_status = 5,
  error = 0x8001,
  error_offset = 0x8002,
};

enum class Error : std::uint32_t {
  ok = 0,
  perm = 1,
  io = 5,
  nomem = 12,
  inval = 22,
  nospc = 28,
  overflow = 75,
  notsup = 95,
  shutdown = 108,
};

// --- handshake -----------------------------------------------------------------------------------------------------

// Server's first words.
inline constexpr std::size_t greeting_bytes = 18;
void encode_greeting(std::uint16_t handshake_flags, std::span<std::byte, greeting_bytes> out);
[[nodiscard]] Result<std::uint16_t> decode_greeting(std::span<const std::byte, greeting_bytes> in);

// Client's answer: its flags.
inline constexpr std::size_t client_flags_bytes = 4;
void encode_client_flags(std::uint32_t flags, std::span<std::byte, client_flags_bytes> out);
[[nodiscard]] std::uint32_t decode_client_flags(std::span<const std::byte, client_flags_bytes> in);

// Client: header of an option, `length` bytes of data follow.
struct OptionHeader {
  Option option{};
  std::uint32_t length = 0;
  friend bool operator==(const OptionHeader&, const OptionHeader&) = default;
};
inline constexpr std::size_t option_header_bytes = 16;
// Fails with bad_opcode (not an option: drop the connection). The length is as sent: bound it before allocating.
// Unknown options come through as numbers without a name.
[[nodiscard]] Result<OptionHeader> decode_option_header(std::span<const std::byte, option_header_bytes> in);
// Header and data in one.
[[nodiscard]] Bytes encode_option(Option option, std::span<const std::byte> data = {});

// Data of INFO and GO.
struct InfoRequest {
  std::string name;
  std::vector<std::uint16_t> infos;  // as sent: may hold types that nobody knows
  friend bool operator==(const InfoRequest&, const InfoRequest&) = default;
};
[[nodiscard]] Result<InfoRequest> decode_info_request(std::span<const std::byte> data);
[[nodiscard]] Bytes encode_info_request(const InfoRequest& request);

// Data of LIST_META_CONTEXT and SET_META_CONTEXT.
struct MetaRequest {
  std::string name;
  std::vector<std::string> queries;
  friend bool operator==(const MetaRequest&, const MetaRequest&) = default;
};
[[nodiscard]] Result<MetaRequest> decode_meta_request(std::span<const std::byte> data);
[[nodiscard]] Bytes encode_meta_request(const MetaRequest& request);

// Server: reply to an option, `length` bytes of data follow.
struct OptionReplyHeader {
  Option option{};
  OptionReply reply{};
  std::uint32_t length = 0;
  friend bool operator==(const OptionReplyHeader&, const OptionReplyHeader&) = default;
};
inline constexpr std::size_t option_reply_header_bytes = 20;
[[nodiscard]] Result<OptionReplyHeader> decode_option_reply_header(
    std::span<const std::byte, option_reply_header_bytes> in);
// Header and data in one. For errors `data` is a sentence for people.
[[nodiscard]] Bytes encode_option_reply(Option option, OptionReply reply, std::span<const std::byte> data = {});
[[nodiscard]] Bytes encode_option_error(Option option, OptionReply reply, std::string_view text);

// Data of a SERVER reply.
struct ServerEntry {
  std::string name;
  std::string description;
  friend bool operator==(const ServerEntry&, const ServerEntry&) = default;
};
[[nodiscard]] Bytes encode_server_entry(const ServerEntry& entry);
[[nodiscard]] Result<ServerEntry> decode_server_entry(std::span<const std::byte> data);

// Data of an INFO reply: its type, then one of these.
struct ExportInfo {
  std::uint64_t size_bytes = 0;
  std::uint16_t flags = 0;
  friend bool operator==(const ExportInfo&, const ExportInfo&) = default;
};
struct BlockSizeInfo {
  std::uint32_t minimum = 1;
  std::uint32_t preferred = 4096;
  std::uint32_t maximum = limits::payload_bytes_max;
  friend bool operator==(const BlockSizeInfo&, const BlockSizeInfo&) = default;
};
[[nodiscard]] Bytes encode_info_export(const ExportInfo& info);
[[nodiscard]] Bytes encode_info_block_size(const BlockSizeInfo& info);
[[nodiscard]] Bytes encode_info_text(InfoType type, std::string_view text);  // name, description
[[nodiscard]] Result<InfoType> decode_info_type(std::span<const std::byte> data);
[[nodiscard]] Result<ExportInfo> decode_info_export(std::span<const std::byte> data);
[[nodiscard]] Result<BlockSizeInfo> decode_info_block_size(std::span<const std::byte> data);
[[nodiscard]] Result<std::string> decode_info_text(std::span<const std::byte> data);

// Answer to EXPORT_NAME, which has no reply header; 124 zeroes unless no_zeroes was agreed.
[[nodiscard]] Bytes encode_export_name_answer(const ExportInfo& info, bool no_zeroes);
[[nodiscard]] Result<ExportInfo> decode_export_name_answer(std::span<const std::byte> data);

// Data of a META_CONTEXT reply.
struct MetaContext {
  std::uint32_t id = 0;
  std::string name;
  friend bool operator==(const MetaContext&, const MetaContext&) = default;
};
[[nodiscard]] Bytes encode_meta_context(const MetaContext& context);
[[nodiscard]] Result<MetaContext> decode_meta_context(std::span<const std::byte> data);

// --- transmission --------------------------------------------------------------------------------------------------

struct Request {
  std::uint16_t flags = 0;
  Command command = Command::read;
  std::uint64_t cookie = 0;  // the peer's bytes, returned as they came
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  friend bool operator==(const Request&, const Request&) = default;
};
inline constexpr std::size_t request_bytes = 28;
// Fails with bad_opcode when the magic is wrong: the stream is lost. Unknown commands come through as numbers.
[[nodiscard]] Result<Request> decode_request(std::span<const std::byte, request_bytes> in);
void encode_request(const Request& request, std::span<std::byte, request_bytes> out);

struct SimpleReply {
  Error error = Error::ok;
  std::uint64_t cookie = 0;
  friend bool operator==(const SimpleReply&, const SimpleReply&) = default;
};
inline constexpr std::size_t simple_reply_bytes = 16;
[[nodiscard]] Result<SimpleReply> decode_simple_reply(std::span<const std::byte, simple_reply_bytes> in);
void encode_simple_reply(const SimpleReply& reply, std::span<std::byte, simple_reply_bytes> out);

// A structured reply is chunks until one carries chunk_flag::done; `length` bytes of payload follow each header.
struct ChunkHeader {
  std::uint16_t flags = 0;
  ChunkType type = ChunkType::none;
  std::uint64_t cookie = 0;
  std::uint32_t length = 0;
  friend bool operator==(const ChunkHeader&, const ChunkHeader&) = default;
};
inline constexpr std::size_t chunk_header_bytes = 20;
[[nodiscard]] Result<ChunkHeader> decode_chunk_header(std::span<const std::byte, chunk_header_bytes> in);
void encode_chunk_header(const ChunkHeader& header, std::span<std::byte, chunk_header_bytes> out);

// offset_data: this, then the data. Header and offset in one: what stands before the payload of a read.
inline constexpr std::size_t offset_bytes = 8;
inline constexpr std::size_t data_chunk_prefix_bytes = chunk_header_bytes + offset_bytes;
void encode_data_chunk_prefix(std::uint64_t cookie, bool done, std::uint64_t offset, std::uint32_t data_bytes,
                              std::span<std::byte, data_chunk_prefix_bytes> out);
[[nodiscard]] std::uint64_t decode_offset(std::span<const std::byte, offset_bytes> in);

// offset_hole: a whole chunk.
struct Hole {
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  friend bool operator==(const Hole&, const Hole&) = default;
};
inline constexpr std::size_t hole_bytes = 12;
inline constexpr std::size_t hole_chunk_bytes = chunk_header_bytes + hole_bytes;
void encode_hole_chunk(std::uint64_t cookie, bool done, const Hole& hole, std::span<std::byte, hole_chunk_bytes> out);
[[nodiscard]] Hole decode_hole(std::span<const std::byte, hole_bytes> in);

// none: a whole chunk without payload, always the last.
void encode_none_chunk(std::uint64_t cookie, std::span<std::byte, chunk_header_bytes> out);

// block_status: a whole chunk, of at most limits::extents_max extents, none of length 0.
struct Extent {
  std::uint32_t length = 0;
  std::uint32_t flags = 0;
  friend bool operator==(const Extent&, const Extent&) = default;
};
struct BlockStatus {
  std::uint32_t context_id = 0;
  std::vector<Extent> extents;
  friend bool operator==(const BlockStatus&, const BlockStatus&) = default;
};
[[nodiscard]] Bytes encode_block_status_chunk(std::uint64_t cookie, bool done, const BlockStatus& status);
[[nodiscard]] Result<BlockStatus> decode_block_status(std::span<const std::byte> payload);

// error and error_offset: whole chunks.
struct ErrorPayload {
  Error error = Error::io;
  std::string text;
  std::uint64_t offset = 0;  // error_offset only
  friend bool operator==(const ErrorPayload&, const ErrorPayload&) = default;
};
[[nodiscard]] Bytes encode_error_chunk(std::uint64_t cookie, bool done, Error error, std::string_view text);
[[nodiscard]] Bytes encode_error_offset_chunk(std::uint64_t cookie, bool done, const ErrorPayload& payload);
// `type` is error or error_offset.
[[nodiscard]] Result<ErrorPayload> decode_error(ChunkType type, std::span<const std::byte> payload);

[[nodiscard]] const char* name(Option option);
[[nodiscard]] const char* name(Command command);
[[nodiscard]] const char* name(Error error);

}  // namespace mpath::nbd
