#include "target/replication/stream_wire.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace mpath::target::replication {
namespace {

using Sent = StreamWire::Sent;
using Received = StreamWire::Received;

std::unexpected<std::string> failed(int number) {
  return std::unexpected(std::generic_category().message(number));
}

// `bytes`: into the places, whatever they hold.
std::expected<Received, std::string> receive_into(int socket, std::span<const iovec> places) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(places.data());
  message.msg_iovlen = places.size();
  ssize_t received = 0;
  do {
    received = ::recvmsg(socket, &message, MSG_DONTWAIT);
  } while (received < 0 && errno == EINTR);
  if (received < 0 && errno != EAGAIN && errno != EWOULDBLOCK) return failed(errno);
  return Received{
      .bytes = static_cast<std::size_t>(std::max<ssize_t>(received, 0)), .asked = true, .ended = received == 0};
}

std::size_t room_of(std::span<const iovec> places) {
  std::size_t room = 0;
  for (const iovec& place : places) room += place.iov_len;
  return room;
}

// ---- as they are ---------------------------------------------------------------------------------------------------

class PlainWire final : public StreamWire {
 public:
  std::expected<Sent, std::string> send(int socket, Gather& gather) override {
    const Result<std::size_t> taken = gather.send(socket);
    if (!taken) return std::unexpected(taken.error().message());
    return Sent{.taken = *taken, .bytes = *taken, .full = *taken < gather.bytes()};
  }
  [[nodiscard]] bool unsent() const override { return false; }

  std::expected<Received, std::string> receive(int socket, std::span<const iovec> places) override {
    auto received = receive_into(socket, places);
    if (!received) return received;
    received->placed = received->bytes;
    received->more = received->bytes == room_of(places);
    return received;
  }
  [[nodiscard]] bool has_input() const override { return false; }
  [[nodiscard]] bool in_record() const override { return false; }
  void release() override {}
};

// ---- TLS -----------------------------------------------------------------------------------------------------------

// What is gathered is sealed into one buffer at a time, and no more before that has left: so what waits for the socket
// is bounded, and messages are under way when they are sealed.
class TlsWire final : public StreamWire {
 public:
  TlsWire(std::unique_ptr<TlsEngine> engine, BufferPool& buffers) : engine_(std::move(engine)), buffers_(buffers) {}

  std::expected<Sent, std::string> send(int socket, Gather& gather) override {
    Sent sent;
    if (rest_.empty()) {
      if (!sealed_) sealed_ = buffers_.take(buffer_bytes);
      const auto sealed = engine_->seal(gather.pieces(), sealed_.bytes());
      if (!sealed) return std::unexpected(sealed.error());
      sent.taken = sealed->plain_bytes;
      rest_ = sealed_.bytes().first(sealed->bytes);
    }
    ssize_t count = 0;
    do {
      count = ::send(socket, rest_.data(), rest_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (count < 0 && errno == EINTR);
    if (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK) return failed(errno);
    sent.bytes = static_cast<std::size_t>(std::max<ssize_t>(count, 0));
    rest_ = rest_.subspan(sent.bytes);
    sent.full = !rest_.empty();
    if (rest_.empty()) sealed_.reset();
    return sent;
  }
  [[nodiscard]] bool unsent() const override { return !rest_.empty() || engine_->has_something_to_say(); }

  std::expected<Received, std::string> receive(int socket, std::span<const iovec> places) override {
    Received received;
    bool filled = false;
    if (!engine_->has_input()) {
      if (!records_) records_ = buffers_.take(buffer_bytes);
      const iovec all{records_.data(), records_.size()};
      const auto came = receive_into(socket, {&all, 1});
      if (!came) return came;
      received = *came;
      filled = received.bytes == records_.size();
      engine_->feed(records_.bytes().first(received.bytes));
    }
    if (engine_->has_input()) {
      const auto placed = engine_->open(places);
      if (!placed) return std::unexpected(placed.error());
      received.placed = *placed;
    }
    received.more = engine_->has_input() || filled;
    if (!engine_->has_input()) records_.reset();
    return received;
  }
  [[nodiscard]] bool has_input() const override { return engine_->has_input(); }
  [[nodiscard]] bool in_record() const override { return engine_->in_record(); }
  void release() override {
    engine_->feed({});
    records_.reset();
    rest_ = {};
    sealed_.reset();
  }

 private:
  static constexpr std::size_t buffer_bytes = std::size_t{256} << 10;
  static_assert(buffer_bytes >= TlsEngine::seal_room);

  std::unique_ptr<TlsEngine> engine_;
  BufferPool& buffers_;
  Buffer sealed_;                    // held while some of it is to be sent
  std::span<const std::byte> rest_;  // of it
  Buffer records_;                   // as they came: held while there are some
};

}  // namespace

std::unique_ptr<StreamWire> make_plain_wire() {
  return std::make_unique<PlainWire>();
}

std::unique_ptr<StreamWire> make_tls_wire(std::unique_ptr<TlsEngine> engine, BufferPool& buffers) {
  return std::make_unique<TlsWire>(std::move(engine), buffers);
}

}  // namespace mpath::target::replication
