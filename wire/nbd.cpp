#include "wire/nbd.hpp"

#include <utility>

#include "base/bytes.hpp"
#include "wire/error.hpp"

namespace mpath::nbd {
namespace {

constexpr std::size_t export_name_padding = 124;
constexpr std::size_t export_info_bytes = 10;
constexpr std::size_t extent_bytes = 8;

// A length-prefixed string of the protocol; sticky like the reader.
std::string counted_text(Reader& r) {
  const std::uint32_t length = r.u32();
  if (length > limits::string_bytes_max) {
    r.fail();
    return {};
  }
  return std::string(r.text(length));
}

void counted_text(Writer& w, std::string_view text) {
  w.u32(static_cast<std::uint32_t>(text.size()));
  w.text(text);
}

// The end of a decoder: everything read, nothing left.
error_code finished(const Reader& r) {
  if (!r.ok()) return WireErrc::truncated;
  if (r.remaining() > 0) return WireErrc::trailing;
  return {};
}

ChunkHeader chunk_header(ChunkType type, std::uint64_t cookie, bool done, std::size_t length) {
  return {.flags = done ? chunk_flag::done : std::uint16_t{0},
          .type = type,
          .cookie = cookie,
          .length = static_cast<std::uint32_t>(length)};
}

void write_chunk_header(const ChunkHeader& header, Writer& w) {
  w.u32(chunk_magic);
  w.u16(header.flags);
  w.u16(std::to_underlying(header.type));
  w.u64(header.cookie);
  w.u32(header.length);
}

// A chunk with room for its payload, and a Writer that stands behind the header.
struct Chunk {
  Bytes bytes;
  Writer payload{{}};
};
Chunk make_chunk(ChunkType type, std::uint64_t cookie, bool done, std::size_t length) {
  Chunk chunk{.bytes = Bytes(chunk_header_bytes + length)};
  chunk.payload = Writer(chunk.bytes);
  write_chunk_header(chunk_header(type, cookie, done, length), chunk.payload);
  return chunk;
}

}  // namespace

void encode_greeting(std::uint16_t handshake_flags, std::span<std::byte, greeting_bytes> out) {
  Writer w(out);
  w.u64(init_magic);
  w.u64(option_magic);
  w.u16(handshake_flags);
}

Result<std::uint16_t> decode_greeting(std::span<const std::byte, greeting_bytes> in) {
  Reader r(in);
  if (r.u64() != init_magic) return failure(WireErrc::bad_opcode);
  if (r.u64() != option_magic) return failure(WireErrc::bad_opcode);
  return r.u16();
}

void encode_client_flags(std::uint32_t flags, std::span<std::byte, client_flags_bytes> out) {
  Writer(out).u32(flags);
}

std::uint32_t decode_client_flags(std::span<const std::byte, client_flags_bytes> in) {
  return Reader(in).u32();
}

Result<OptionHeader> decode_option_header(std::span<const std::byte, option_header_bytes> in) {
  Reader r(in);
  if (r.u64() != option_magic) return failure(WireErrc::bad_opcode);
  return OptionHeader{.option = static_cast<Option>(r.u32()), .length = r.u32()};
}

Bytes encode_option(Option option, std::span<const std::byte> data) {
  Bytes bytes(option_header_bytes + data.size());
  Writer w(bytes);
  w.u64(option_magic);
  w.u32(std::to_underlying(option));
  w.u32(static_cast<std::uint32_t>(data.size()));
  w.bytes(data);
  return bytes;
}

Result<InfoRequest> decode_info_request(std::span<const std::byte> data) {
  Reader r(data);
  InfoRequest request{.name = counted_text(r)};
  const std::size_t count = r.u16();
  if (count > limits::info_requests_max) return failure(WireErrc::bad_length);
  for (std::size_t i = 0; i < count && r.ok(); ++i) request.infos.push_back(r.u16());
  if (const error_code error = finished(r)) return std::unexpected(error);
  return request;
}

Bytes encode_info_request(const InfoRequest& request) {
  Bytes bytes(4 + request.name.size() + 2 + 2 * request.infos.size());
  Writer w(bytes);
  counted_text(w, request.name);
  w.u16(static_cast<std::uint16_t>(request.infos.size()));
  for (const std::uint16_t info : request.infos) w.u16(info);
  return bytes;
}

Result<MetaRequest> decode_meta_request(std::span<const std::byte> data) {
  Reader r(data);
  MetaRequest request{.name = counted_text(r)};
  const std::size_t count = r.u32();
  if (count > limits::meta_queries_max) return failure(WireErrc::bad_length);
  for (std::size_t i = 0; i < count && r.ok(); ++i) request.queries.push_back(counted_text(r));
  if (const error_code error = finished(r)) return std::unexpected(error);
  return request;
}

Bytes encode_meta_request(const MetaRequest& request) {
  std::size_t size = 4 + request.name.size() + 4;
  for (const std::string& query : request.queries) size += 4 + query.size();
  Bytes bytes(size);
  Writer w(bytes);
  counted_text(w, request.name);
  w.u32(static_cast<std::uint32_t>(request.queries.size()));
  for (const std::string& query : request.queries) counted_text(w, query);
  return bytes;
}

Result<OptionReplyHeader> decode_option_reply_header(std::span<const std::byte, option_reply_header_bytes> in) {
  Reader r(in);
  if (r.u64() != option_reply_magic) return failure(WireErrc::bad_opcode);
  return OptionReplyHeader{
      .option = static_cast<Option>(r.u32()), .reply = static_cast<OptionReply>(r.u32()), .length = r.u32()};
}

Bytes encode_option_reply(Option option, OptionReply reply, std::span<const std::byte> data) {
  Bytes bytes(option_reply_header_bytes + data.size());
  Writer w(bytes);
  w.u64(option_reply_magic);
  w.u32(std::to_underlying(option));
  w.u32(std::to_underlying(reply));
  w.u32(static_cast<std::uint32_t>(data.size()));
  w.bytes(data);
  return bytes;
}

Bytes encode_option_error(Option option, OptionReply reply, std::string_view text) {
  return encode_option_reply(option, reply, std::as_bytes(std::span(text.substr(0, limits::string_bytes_max))));
}

Bytes encode_server_entry(const ServerEntry& entry) {
  Bytes bytes(4 + entry.name.size() + entry.description.size());
  Writer w(bytes);
  counted_text(w, entry.name);
  w.text(entry.description);
  return bytes;
}

Result<ServerEntry> decode_server_entry(std::span<const std::byte> data) {
  Reader r(data);
  ServerEntry entry{.name = counted_text(r)};
  if (!r.ok()) return failure(WireErrc::truncated);
  if (r.remaining() > limits::string_bytes_max) return failure(WireErrc::bad_length);
  entry.description = r.text(r.remaining());
  return entry;
}

Bytes encode_info_export(const ExportInfo& info) {
  Bytes bytes(2 + export_info_bytes);
  Writer w(bytes);
  w.u16(std::to_underlying(InfoType::export_info));
  w.u64(info.size_bytes);
  w.u16(info.flags);
  return bytes;
}

Bytes encode_info_block_size(const BlockSizeInfo& info) {
  Bytes bytes(2 + 12);
  Writer w(bytes);
  w.u16(std::to_underlying(InfoType::block_size));
  w.u32(info.minimum);
  w.u32(info.preferred);
  w.u32(info.maximum);
  return bytes;
}

Bytes encode_info_text(InfoType type, std::string_view text) {
  Bytes bytes(2 + text.size());
  Writer w(bytes);
  w.u16(std::to_underlying(type));
  w.text(text);
  return bytes;
}

Result<InfoType> decode_info_type(std::span<const std::byte> data) {
  Reader r(data);
  const auto type = static_cast<InfoType>(r.u16());
  if (!r.ok()) return failure(WireErrc::truncated);
  return type;
}

Result<ExportInfo> decode_info_export(std::span<const std::byte> data) {
  Reader r(data);
  r.skip(2);
  const ExportInfo info{.size_bytes = r.u64(), .flags = r.u16()};
  if (const error_code error = finished(r)) return std::unexpected(error);
  return info;
}

Result<BlockSizeInfo> decode_info_block_size(std::span<const std::byte> data) {
  Reader r(data);
  r.skip(2);
  const BlockSizeInfo info{.minimum = r.u32(), .preferred = r.u32(), .maximum = r.u32()};
  if (const error_code error = finished(r)) return std::unexpected(error);
  return info;
}

Result<std::string> decode_info_text(std::span<const std::byte> data) {
  Reader r(data);
  r.skip(2);
  if (!r.ok()) return failure(WireErrc::truncated);
  if (r.remaining() > limits::string_bytes_max) return failure(WireErrc::bad_length);
  return std::string(r.text(r.remaining()));
}

Bytes encode_export_name_answer(const ExportInfo& info, bool no_zeroes) {
  Bytes bytes(export_info_bytes + (no_zeroes ? 0 : export_name_padding));
  Writer w(bytes);
  w.u64(info.size_bytes);
  w.u16(info.flags);
  return bytes;
}

Result<ExportInfo> decode_export_name_answer(std::span<const std::byte> data) {
  Reader r(data);
  const ExportInfo info{.size_bytes = r.u64(), .flags = r.u16()};
  if (!r.ok()) return failure(WireErrc::truncated);
  return info;
}

Bytes encode_meta_context(const MetaContext& context) {
  Bytes bytes(4 + context.name.size());
  Writer w(bytes);
  w.u32(context.id);
  w.text(context.name);
  return bytes;
}

Result<MetaContext> decode_meta_context(std::span<const std::byte> data) {
  Reader r(data);
  MetaContext context{.id = r.u32()};
  if (!r.ok()) return failure(WireErrc::truncated);
  if (r.remaining() > limits::string_bytes_max) return failure(WireErrc::bad_length);
  context.name = r.text(r.remaining());
  return context;
}

Result<Request> decode_request(std::span<const std::byte, request_bytes> in) {
  Reader r(in);
  if (r.u32() != request_magic) return failure(WireErrc::bad_opcode);
  return Request{.flags = r.u16(),
                 .command = static_cast<Command>(r.u16()),
                 .cookie = r.u64(),
                 .offset = r.u64(),
                 .length = r.u32()};
}

void encode_request(const Request& request, std::span<std::byte, request_bytes> out) {
  Writer w(out);
  w.u32(request_magic);
  w.u16(request.flags);
  w.u16(std::to_underlying(request.command));
  w.u64(request.cookie);
  w.u64(request.offset);
  w.u32(request.length);
}

Result<SimpleReply> decode_simple_reply(std::span<const std::byte, simple_reply_bytes> in) {
  Reader r(in);
  if (r.u32() != simple_reply_magic) return failure(WireErrc::bad_opcode);
  return SimpleReply{.error = static_cast<Error>(r.u32()), .cookie = r.u64()};
}

void encode_simple_reply(const SimpleReply& reply, std::span<std::byte, simple_reply_bytes> out) {
  Writer w(out);
  w.u32(simple_reply_magic);
  w.u32(std::to_underlying(reply.error));
  w.u64(reply.cookie);
}

Result<ChunkHeader> decode_chunk_header(std::span<const std::byte, chunk_header_bytes> in) {
  Reader r(in);
  if (r.u32() != chunk_magic) return failure(WireErrc::bad_opcode);
  return ChunkHeader{.flags = r.u16(), .type = static_cast<ChunkType>(r.u16()), .cookie = r.u64(), .length = r.u32()};
}

void encode_chunk_header(const ChunkHeader& header, std::span<std::byte, chunk_header_bytes> out) {
  Writer w(out);
  write_chunk_header(header, w);
}

void encode_data_chunk_prefix(std::uint64_t cookie, bool done, std::uint64_t offset, std::uint32_t data_bytes,
                              std::span<std::byte, data_chunk_prefix_bytes> out) {
  Writer w(out);
  write_chunk_header(chunk_header(ChunkType::offset_data, cookie, done, offset_bytes + data_bytes), w);
  w.u64(offset);
}

std::uint64_t decode_offset(std::span<const std::byte, offset_bytes> in) {
  return Reader(in).u64();
}

void encode_hole_chunk(std::uint64_t cookie, bool done, const Hole& hole, std::span<std::byte, hole_chunk_bytes> out) {
  Writer w(out);
  write_chunk_header(chunk_header(ChunkType::offset_hole, cookie, done, hole_bytes), w);
  w.u64(hole.offset);
  w.u32(hole.length);
}

Hole decode_hole(std::span<const std::byte, hole_bytes> in) {
  Reader r(in);
  return {.offset = r.u64(), .length = r.u32()};
}

void encode_none_chunk(std::uint64_t cookie, std::span<std::byte, chunk_header_bytes> out) {
  encode_chunk_header(chunk_header(ChunkType::none, cookie, true, 0), out);
}

Bytes encode_block_status_chunk(std::uint64_t cookie, bool done, const BlockStatus& status) {
  Chunk chunk = make_chunk(ChunkType::block_status, cookie, done, 4 + extent_bytes * status.extents.size());
  chunk.payload.u32(status.context_id);
  for (const Extent& extent : status.extents) {
    chunk.payload.u32(extent.length);
    chunk.payload.u32(extent.flags);
  }
  return std::move(chunk.bytes);
}

Result<BlockStatus> decode_block_status(std::span<const std::byte> payload) {
  Reader r(payload);
  BlockStatus status{.context_id = r.u32()};
  if (!r.ok() || r.remaining() == 0) return failure(WireErrc::truncated);
  if (r.remaining() % extent_bytes != 0) return failure(WireErrc::bad_length);
  status.extents.resize(r.remaining() / extent_bytes);
  for (Extent& extent : status.extents) {
    extent = {.length = r.u32(), .flags = r.u32()};
    if (extent.length == 0) return failure(WireErrc::bad_field);
  }
  return status;
}

Bytes encode_error_chunk(std::uint64_t cookie, bool done, Error error, std::string_view text) {
  text = text.substr(0, limits::string_bytes_max);
  Chunk chunk = make_chunk(ChunkType::error, cookie, done, 4 + 2 + text.size());
  chunk.payload.u32(std::to_underlying(error));
  chunk.payload.u16(static_cast<std::uint16_t>(text.size()));
  chunk.payload.text(text);
  return std::move(chunk.bytes);
}

Bytes encode_error_offset_chunk(std::uint64_t cookie, bool done, const ErrorPayload& payload) {
  const auto text = std::string_view(payload.text).substr(0, limits::string_bytes_max);
  Chunk chunk = make_chunk(ChunkType::error_offset, cookie, done, 4 + 2 + text.size() + offset_bytes);
  chunk.payload.u32(std::to_underlying(payload.error));
  chunk.payload.u16(static_cast<std::uint16_t>(text.size()));
  chunk.payload.text(text);
  chunk.payload.u64(payload.offset);
  return std::move(chunk.bytes);
}

Result<ErrorPayload> decode_error(ChunkType type, std::span<const std::byte> payload) {
  Reader r(payload);
  ErrorPayload error{.error = static_cast<Error>(r.u32())};
  error.text = r.text(r.u16());
  if (type == ChunkType::error_offset) error.offset = r.u64();
  if (!r.ok()) return failure(WireErrc::truncated);
  return error;  // other error chunks of the future may carry more: ignored
}

const char* name(Option option) {
  switch (option) {
    case Option::export_name:
      return "EXPORT_NAME";
    case Option::abort:
      return "ABORT";
    case Option::list:
      return "LIST";
    case Option::starttls:
      return "STARTTLS";
    case Option::info:
      return "INFO";
    case Option::go:
      return "GO";
    case Option::structured_reply:
      return "STRUCTURED_REPLY";
    case Option::list_meta_context:
      return "LIST_META_CONTEXT";
    case Option::set_meta_context:
      return "SET_META_CONTEXT";
    case Option::extended_headers:
      return "EXTENDED_HEADERS";
  }
  return "unknown option";
}

const char* name(Command command) {
  switch (command) {
    case Command::read:
      return "READ";
    case Command::write:
      return "WRITE";
    case Command::disconnect:
      return "DISC";
    case Command::flush:
      return "FLUSH";
    case Command::trim:
      return "TRIM";
    case Command::cache:
      return "CACHE";
    case Command::write_zeroes:
      return "WRITE_ZEROES";
    case Command::block_status:
      return "BLOCK_STATUS";
    case Command::resize:
      return "RESIZE";
  }
  return "unknown command";
}

const char* name(Error error) {
  switch (error) {
    case Error::ok:
      return "ok";
    case Error::perm:
      return "EPERM";
    case Error::io:
      return "EIO";
    case Error::nomem:
      return "ENOMEM";
    case Error::inval:
      return "EINVAL";
    case Error::nospc:
      return "ENOSPC";
    case Error::overflow:
      return "EOVERFLOW";
    case Error::notsup:
      return "ENOTSUP";
    case Error::shutdown:
      return "ESHUTDOWN";
  }
  return "unknown error";
}

}  // namespace mpath::nbd
