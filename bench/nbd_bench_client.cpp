#include "bench/nbd_bench_client.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include "base/unix_socket.hpp"

namespace mpath::bench {
namespace {

constexpr std::size_t staging_bytes = std::size_t{1} << 20;

}  // namespace

UniqueFd connect_nbd(const std::string& unix_path, const std::string& host_and_port) {
  if (unix_path.empty()) return UniqueFd(connect_tcp(host_and_port));
  Result<UniqueFd> socket = connect_unix(unix_path, std::chrono::seconds(5));
  if (!socket) throw std::system_error(socket.error(), unix_path);
  return std::move(*socket);
}

NbdClient::NbdClient(UniqueFd socket, const std::string& export_name, const Load& load, Totals& totals)
    : socket_(std::move(socket)),
      load_(load),
      totals_(totals),
      pattern_(load),
      slots_(load.depth),
      staging_(staging_bytes),
      payload_(load.size, std::byte{0x5a}),
      to_send_(totals.sends) {
  handshake(export_name);
  if (size_bytes_ < load.size) throw std::runtime_error("the export is smaller than one request");
  make_fast(fd());
  to_send_.reserve(2 * load.depth);
}

void NbdClient::handshake(const std::string& export_name) {
  std::array<std::byte, nbd::greeting_bytes> greeting;
  receive_all(fd(), greeting.data(), greeting.size());
  if (!nbd::decode_greeting(greeting)) throw std::runtime_error("this is no fixed newstyle NBD server");
  std::array<std::byte, nbd::client_flags_bytes> flags;
  nbd::encode_client_flags(nbd::handshake_flag::fixed_newstyle | nbd::handshake_flag::no_zeroes, flags);
  send_all(fd(), flags.data(), flags.size());
  const auto option = nbd::encode_option(nbd::Option::go, nbd::encode_info_request({.name = export_name}));
  send_all(fd(), option.data(), option.size());
  for (;;) {
    std::array<std::byte, nbd::option_reply_header_bytes> bytes;
    receive_all(fd(), bytes.data(), bytes.size());
    const auto header = nbd::decode_option_reply_header(bytes);
    if (!header || header->length > (1u << 20)) throw std::runtime_error("the server's handshake makes no sense");
    std::vector<std::byte> data(header->length);
    receive_all(fd(), data.data(), data.size());
    if (header->reply == nbd::OptionReply::ack) return;
    if (nbd::is_error(header->reply)) {
      throw std::runtime_error(fmt::format("the server refuses export '{}': {}", export_name,
                                           std::string(reinterpret_cast<const char*>(data.data()), data.size())));
    }
    if (header->reply != nbd::OptionReply::info || nbd::decode_info_type(data) != nbd::InfoType::export_info) continue;
    const auto info = nbd::decode_info_export(data);
    if (info) size_bytes_ = info->size_bytes;
  }
}

void NbdClient::start(std::uint64_t now) {
  for (std::uint32_t i = 0; i < load_.depth; ++i) ask(i, now);
  to_send_.flush(fd());
}

std::uint64_t NbdClient::on_ready(std::uint64_t now, bool more) {
  const std::uint64_t answered = receive(now, more);
  to_send_.flush(fd());
  return answered;
}

void NbdClient::ask(std::uint32_t index, std::uint64_t now) {
  Slot& slot = slots_[index];
  slot.started = now;
  slot.is_read = pattern_.next_is_read();
  const nbd::Request request{.command = slot.is_read ? nbd::Command::read : nbd::Command::write,
                             .cookie = index,
                             .offset = pattern_.next_offset(size_bytes_),
                             .length = load_.size};
  nbd::encode_request(request, std::span(slot.header));
  to_send_.add(slot.header, sizeof slot.header);
  if (!slot.is_read) to_send_.add(payload_.data(), payload_.size());
  ++in_flight_;
}

std::uint64_t NbdClient::receive(std::uint64_t now, bool more) {
  std::memmove(staging_.data(), staging_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  ++totals_.receives;
  const ssize_t got = ::recv(fd(), staging_.data() + end_, staging_.size() - end_, 0);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return 0;
    throw_errno("recv");
  }
  if (got == 0) throw std::runtime_error("the server closed the connection");
  end_ += static_cast<std::size_t>(got);

  std::uint64_t answered = 0;
  for (;;) {
    const std::uint64_t skipped = std::min<std::uint64_t>(skip_, end_ - begin_);
    begin_ += skipped;
    skip_ -= skipped;
    if (skip_ > 0 || end_ - begin_ < nbd::simple_reply_bytes) return answered;
    const auto reply = nbd::decode_simple_reply(
        std::span<const std::byte, nbd::simple_reply_bytes>(staging_.data() + begin_, nbd::simple_reply_bytes));
    if (!reply || reply->cookie >= slots_.size()) throw std::runtime_error("the server's reply makes no sense");
    begin_ += nbd::simple_reply_bytes;
    const auto index = static_cast<std::uint32_t>(reply->cookie);
    if (reply->error != nbd::Error::ok) {
      ++totals_.errors;
    } else if (slots_[index].is_read) {
      skip_ = load_.size;
    }
    totals_.latency.add(now - slots_[index].started);
    --in_flight_;
    ++answered;
    if (more) ask(index, now);
  }
}

}  // namespace mpath::bench
