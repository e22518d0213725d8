#include "target/replication/tls_handshake.hpp"

#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "wire/error.hpp"

namespace mpath::target::replication {

using boost::asio::awaitable;

namespace {

// One record, from its header on; at most `bytes_max`.
awaitable<Result<std::vector<std::byte>>> receive_record(HandshakeSocket& socket, std::size_t bytes_max) {
  std::vector<std::byte> record(TlsEngine::record_header_bytes);
  if (const error_code error = co_await socket.receive_all(record)) co_return failure(error);
  Reader header(record);
  header.skip(3);  // its kind and version are OpenSSL's business
  const std::size_t length = header.u16();
  if (record.size() + length > bytes_max) co_return failure(WireErrc::bad_length);
  record.resize(record.size() + length);
  const auto rest = std::span(record).subspan(TlsEngine::record_header_bytes);
  if (const error_code error = co_await socket.receive_all(rest)) co_return failure(error);
  co_return record;
}

}  // namespace

awaitable<std::expected<void, std::string>> shake_hands(HandshakeSocket& socket, TlsEngine& engine) {
  std::vector<std::byte> record;
  std::size_t left = tls_handshake_bytes_max;
  for (;;) {
    const std::expected<bool, std::string> done = engine.shake(record);
    std::vector<std::byte> said = engine.take_said();
    const error_code unsent = co_await socket.send(std::move(said));
    if (!done) co_return std::unexpected(done.error());
    if (unsent) co_return std::unexpected("TLS: " + unsent.message());
    if (*done) co_return std::expected<void, std::string>();
    Result<std::vector<std::byte>> came = co_await receive_record(socket, left);
    if (!came) co_return std::unexpected("TLS: " + came.error().message());
    record = std::move(*came);
    left -= record.size();
  }
}

}  // namespace mpath::target::replication
