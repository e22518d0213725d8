#include "target/replication/stream_dialer.hpp"

#include <fmt/format.h>

#include "base/check.hpp"
#include "base/within.hpp"
#include "target/replication/handshake_socket.hpp"
#include "target/replication/tcp_stream.hpp"
#include "target/replication/tls_handshake.hpp"
#include "wire/error.hpp"

namespace mpath::target::replication {

namespace asio = boost::asio;
using asio::awaitable;
using Tcp = asio::ip::tcp;

namespace {

using Outcome = std::expected<Dialed, DialFailure>;

std::unexpected<DialFailure> failed(error_code error, const std::string& doing) {
  return std::unexpected(DialFailure{.error = error, .text = doing + ": " + error.message()});
}
std::unexpected<DialFailure> failed(std::errc error, const std::string& doing) {
  return failed(std::make_error_code(error), doing);
}
std::unexpected<DialFailure> refused(StreamRefusal why, std::string text) {
  return std::unexpected(DialFailure{.refusal = why, .text = std::move(text)});
}

std::string text_of(const StreamLink& link) {
  const bool v6 = link.remote.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", v6 ? "[" : "", link.remote, v6 ? "]" : "", link.port);
}

// A peer who says with proof that it does not want to does so on every link.
bool is_final(const DialFailure& failure) {
  switch (failure.refusal) {
    case StreamRefusal::none:
    case StreamRefusal::cluster:  // another machine may have been given this address
      return false;
    case StreamRefusal::version:
    case StreamRefusal::unit:
    case StreamRefusal::shape:
    case StreamRefusal::outdated:
    case StreamRefusal::unprepared:
      return true;
  }
  return false;
}

struct Greeted {
  Welcome welcome;
  std::optional<StreamKeys> keys;
  std::unique_ptr<TlsEngine> tls;
};

awaitable<std::expected<Greeted, DialFailure>> greet(HandshakeSocket& socket, Hello hello, std::vector<Key> keys,
                                                     std::string cluster_name) {
  const std::vector<std::byte> greeting = encode(hello);
  Transcript transcript;
  transcript.add_hello(greeting);
  if (const error_code error = co_await socket.send(greeting)) co_return failed(error, "greeting");

  const Result<std::vector<std::byte>> welcomed = co_await socket.receive();
  if (!welcomed) co_return failed(welcomed.error(), "waiting for the welcome");
  const Result<Welcome> welcome = decode_welcome(*welcomed);
  if (!welcome) co_return failed(welcome.error(), "the welcome");
  if (!transcript.check(*welcomed, keys, Transcript::Label::welcome)) {
    co_return refused(StreamRefusal::cluster, "whoever answers there does not have this cluster's key");
  }
  if (welcome->from != peer_of(hello.from)) {
    co_return refused(StreamRefusal::cluster, fmt::format("node {} answers there, which is not the peer of node {}",
                                                          name(welcome->from), name(hello.from)));
  }
  if (welcome->version < hello.version_min || welcome->version > hello.version_max) {
    co_return refused(StreamRefusal::version,
                      fmt::format("the peer speaks version {} of the replication, this node {} to {}", welcome->version,
                                  hello.version_min, hello.version_max));
  }
  if (welcome->auth < hello.auth) {
    co_return refused(StreamRefusal::version,
                      fmt::format("stream_auth {} is wanted here, and the peer, which speaks version {} of the "
                                  "replication, knows {} only: upgrade it, or want less until then",
                                  name(hello.auth), welcome->version, name(welcome->auth)));
  }

  std::vector<std::byte> proof = encode(Proof());
  transcript.prove(proof, keys.front(), Transcript::Label::proof);
  if (const error_code error = co_await socket.send(std::move(proof))) co_return failed(error, "proving the key");

  const Result<std::vector<std::byte>> answered = co_await socket.receive();
  if (!answered) co_return failed(answered.error(), "waiting for the peer to be ready");
  const Result<Ready> ready = decode_ready(*answered);
  if (!ready) co_return failed(ready.error(), "the peer's answer");
  if (!transcript.check(*answered, keys, Transcript::Label::ready)) {
    co_return failed(make_error_code(WireErrc::bad_digest), "the peer's answer");
  }
  if (ready->refusal != StreamRefusal::none) co_return refused(ready->refusal, ready->text);
  Greeted greeted{.welcome = *welcome};
  const Key& key = keys.front();
  switch (welcome->auth) {
    case StreamAuth::none:
      break;
    case StreamAuth::hmac:
      greeted.keys = {.sending = transcript.derive(key, Transcript::Label::leader_messages),
                      .receiving = transcript.derive(key, Transcript::Label::follower_messages)};
      break;
    case StreamAuth::tls: {
      const std::string key_name = tls_key_name(cluster_name, hello.from, key);
      greeted.tls = TlsEngine::connecting({.name = key_name, .key = transcript.derive_tls(key, key_name)});
      const auto done = co_await shake_hands(socket, *greeted.tls);
      if (!done) co_return failed(make_error_code(std::errc::protocol_error), done.error());
      break;
    }
  }
  co_return greeted;
}

}  // namespace

awaitable<Outcome> StreamDialer::connect(std::vector<StreamLink> links, Hello hello, std::vector<Key> keys,
                                         Shard& shard) const {
  CHECK(!keys.empty());
  DialFailure failure{.error = std::make_error_code(std::errc::network_unreachable)};
  for (const StreamLink& link : links) {
    Outcome outcome = co_await try_link(link, hello, keys, shard);
    if (outcome) {
      outcome->link = link.index;
      co_return outcome;
    }
    const std::string before = failure.text.empty() ? "" : failure.text + "; ";
    failure = std::move(outcome.error());
    failure.text = before + text_of(link) + ": " + failure.text;
    if (is_final(failure)) break;
  }
  if (links.empty()) failure.text = "no link to the peer is configured";
  co_return std::unexpected(std::move(failure));
}

awaitable<Outcome> StreamDialer::try_link(StreamLink link, Hello hello, std::vector<Key> keys, Shard& shard) const {
  boost::system::error_code wrong, wrong_local;
  const auto remote = asio::ip::make_address(link.remote, wrong);
  const auto local = link.local.empty() ? asio::ip::address() : asio::ip::make_address(link.local, wrong_local);
  if (wrong || wrong_local) co_return failed(std::errc::invalid_argument, "not a numeric address");
  const Tcp::endpoint from(local, 0);
  const Tcp::endpoint to(remote, link.port);

  HandshakeSocket socket(control_);
  const auto connected = co_await within(clock_, options_.connect_max, socket.connect(from, to));
  if (!connected) co_return failed(std::errc::timed_out, "connecting");
  if (*connected) co_return failed(*connected, "connecting");
  hello.nonce = random_nonce();
  hello.link = link.index;
  auto greeted = co_await within(clock_, options_.handshake_max, greet(socket, hello, keys, options_.cluster_name));
  if (!greeted) co_return failed(std::errc::timed_out, "greeting");
  if (!*greeted) co_return std::unexpected(greeted->error());
  Greeted& peer = **greeted;
  const TcpStreamOptions options{
      .silence_max = options_.silence_max, .keys = peer.keys, .version = peer.welcome.version};
  auto stream = std::make_unique<TcpStream>(socket.release(), shard, options, std::move(peer.tls));
  co_return Dialed{.stream = std::move(stream), .welcome = peer.welcome};
}

}  // namespace mpath::target::replication
