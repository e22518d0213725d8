// NBD from both sides: requests and options that clients send, replies that servers send.
#include <algorithm>
#include <array>

#include "tests/fuzz/fuzz_input.hpp"
#include "wire/nbd.hpp"

namespace mpath::nbd {
namespace {

template <std::size_t size, typename Message>
void try_fixed(std::span<const std::byte> bytes, Result<Message> (*decode)(std::span<const std::byte, size>),
               void (*encode)(const Message&, std::span<std::byte, size>)) {
  if (bytes.size() < size) return;
  const auto message = decode(bytes.first<size>());
  if (!message) return;
  std::array<std::byte, size> again{};
  encode(*message, again);
  CHECK(std::equal(again.begin(), again.end(), bytes.begin()));
}

void try_info_request(std::span<const std::byte> bytes) {
  const auto request = decode_info_request(bytes);
  if (!request) return;
  CHECK(encode_info_request(*request) == Bytes(bytes.begin(), bytes.end()));
}

void try_meta_request(std::span<const std::byte> bytes) {
  const auto request = decode_meta_request(bytes);
  if (!request) return;
  CHECK(encode_meta_request(*request) == Bytes(bytes.begin(), bytes.end()));
}

void try_headers(std::span<const std::byte> bytes) {
  if (bytes.size() >= option_header_bytes) static_cast<void>(decode_option_header(bytes.first<option_header_bytes>()));
  if (bytes.size() >= greeting_bytes) static_cast<void>(decode_greeting(bytes.first<greeting_bytes>()));
  if (bytes.size() >= option_reply_header_bytes) {
    static_cast<void>(decode_option_reply_header(bytes.first<option_reply_header_bytes>()));
  }
}

void try_infos(std::span<const std::byte> bytes) {
  static_cast<void>(decode_info_type(bytes));
  static_cast<void>(decode_info_export(bytes));
  static_cast<void>(decode_info_block_size(bytes));
  static_cast<void>(decode_info_text(bytes));
  static_cast<void>(decode_server_entry(bytes));
  static_cast<void>(decode_meta_context(bytes));
  static_cast<void>(decode_export_name_answer(bytes));
}

void try_all(fuzz::Input input) {
  const auto bytes = input.bytes.subspan(input.bytes.empty() ? 0 : 1);
  switch (input.choice() % 10) {
    case 0:
      try_fixed<request_bytes, Request>(bytes, decode_request, encode_request);
      break;
    case 1:
      try_fixed<simple_reply_bytes, SimpleReply>(bytes, decode_simple_reply, encode_simple_reply);
      break;
    case 2:
      try_fixed<chunk_header_bytes, ChunkHeader>(bytes, decode_chunk_header, encode_chunk_header);
      break;
    case 3:
      try_headers(bytes);
      break;
    case 4:
      try_info_request(bytes);
      break;
    case 5:
      try_meta_request(bytes);
      break;
    case 6:
      try_infos(bytes);
      break;
    case 7:
      static_cast<void>(decode_block_status(bytes));
      break;
    case 8:
      static_cast<void>(decode_error(ChunkType::error, bytes));
      break;
    case 9:
      static_cast<void>(decode_error(ChunkType::error_offset, bytes));
      break;
  }
}

}  // namespace
}  // namespace mpath::nbd

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mpath::nbd::try_all({data, size});
  return 0;
}
