#include "target/replication/stream_listener.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>

#include "base/check.hpp"
#include "base/sleep.hpp"
#include "base/within.hpp"
#include "target/replication/handshake_socket.hpp"
#include "target/replication/tcp_stream.hpp"
#include "target/replication/tls_handshake.hpp"

namespace mpath::target::replication {

namespace asio = boost::asio;
using asio::awaitable;
using Descriptor = asio::posix::stream_descriptor;
using Tcp = asio::ip::tcp;

namespace {

constexpr auto as_tuple = asio::as_tuple(asio::use_awaitable);
constexpr int accepts_per_wake = 16;
constexpr std::chrono::milliseconds out_of_files_pause{100};
constexpr std::chrono::seconds complaint_interval{1};

std::string text_of(const Tcp::endpoint& endpoint) {
  const bool v6 = endpoint.address().is_v6();
  return (v6 ? "[" : "") + endpoint.address().to_string() + (v6 ? "]:" : ":") + std::to_string(endpoint.port());
}

std::string remote_of(int fd) {
  Tcp::endpoint endpoint;
  auto size = static_cast<socklen_t>(endpoint.capacity());
  if (::getpeername(fd, endpoint.data(), &size) != 0) return "?";
  endpoint.resize(size);
  return text_of(endpoint);
}

}  // namespace

// One address, listened on as soon as it is there.
struct StreamListener::Door {
  StreamAddress asked;
  StreamAddress bound;
  Descriptor descriptor;
  error_code said;  // why it is not open: told when it changes

  Door(const asio::any_io_executor& executor, StreamAddress address)
      : asked(std::move(address)), descriptor(executor) {}
};

struct StreamListener::Proved {
  Hello hello;
  Transcript transcript;
  Key leader_key{};
  StreamAuth auth = StreamAuth::none;  // of both the stronger
  std::uint16_t version = 1;
};

StreamListener::StreamListener(asio::any_io_executor control, Clock& clock, const Log& log,
                               const StreamListenerOptions& options, std::vector<Key> keys, Admit admit)
    : control_(std::move(control)),
      clock_(clock),
      log_(log),
      options_(options),
      admit_(std::move(admit)),
      keys_(std::move(keys)),
      tasks_(control_) {
  CHECK(!keys_.empty());
}

StreamListener::~StreamListener() = default;

void StreamListener::listen(std::vector<StreamAddress> addresses) {
  CHECK(doors_.empty());
  for (StreamAddress& address : addresses) {
    const auto door = doors_.emplace_back(std::make_shared<Door>(control_, std::move(address)));
    door->said = open(*door);
    tasks_.spawn(keep_open(door));
  }
}

void StreamListener::set_keys(std::vector<Key> keys) {
  CHECK(!keys.empty());
  keys_ = std::move(keys);
}

std::vector<StreamAddress> StreamListener::listening() const {
  std::vector<StreamAddress> bound;
  for (const auto& door : doors_) {
    if (door->descriptor.is_open()) bound.push_back(door->bound);
  }
  return bound;
}

awaitable<void> StreamListener::close() {
  for (const auto& door : doors_) {
    boost::system::error_code ignored;
    door->descriptor.close(ignored);
  }
  co_await tasks_.close();
  doors_.clear();
  half_open_.clear();
}

// ---- doors ---------------------------------------------------------------------------------------------------------

awaitable<void> StreamListener::keep_open(std::shared_ptr<Door> door) {
  if (door->said) {
    log_.warning("cannot listen yet on={} port={} reason={}", door->asked.address, door->asked.port,
                 quoted(door->said.message()));
  }
  while (!door->descriptor.is_open()) {
    if (co_await sleep_for(clock_, options_.retry)) co_return;
    const error_code error = open(*door);
    if (!error) log_.notice("listening on={} port={}", door->bound.address, door->bound.port);
    if (error && error != door->said) {
      log_.warning("cannot listen yet on={} port={} reason={}", door->asked.address, door->asked.port,
                   quoted(error.message()));
    }
    door->said = error;
  }
  for (;;) {
    const auto [error] = co_await door->descriptor.async_wait(Descriptor::wait_read, as_tuple);
    if (error || !door->descriptor.is_open()) co_return;
    if (accept_some(*door)) continue;
    // The backlog holds the others until something was closed.
    if (co_await sleep_for(clock_, out_of_files_pause)) co_return;
  }
}

error_code StreamListener::open(Door& door) const {
  boost::system::error_code error;
  const auto address = asio::ip::make_address(door.asked.address, error);
  if (error) return error;
  const Tcp::endpoint wanted(address, door.asked.port);
  UniqueFd socket(::socket(wanted.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return errno_code(errno);
  constexpr int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.is_v6()) ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (::bind(socket.get(), wanted.data(), static_cast<socklen_t>(wanted.size())) != 0) return errno_code(errno);
  if (::listen(socket.get(), SOMAXCONN) != 0) return errno_code(errno);
  Tcp::endpoint bound;
  auto size = static_cast<socklen_t>(bound.capacity());
  if (::getsockname(socket.get(), bound.data(), &size) != 0) return errno_code(errno);
  bound.resize(size);
  door.bound = {.address = door.asked.address, .port = bound.port()};
  door.descriptor.assign(socket.get(), error);
  if (error) return error;
  static_cast<void>(socket.release());
  return {};
}

// Accepts what waits. False: there are not enough files or memory for one more.
bool StreamListener::accept_some(Door& door) {
  for (int count = 0; count < accepts_per_wake; ++count) {
    UniqueFd socket(::accept4(door.descriptor.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket) {
      welcome(std::move(socket));
      continue;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return true;
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      log_.warning("cannot accept reason={}", quoted(errno_code(errno).message()));
      return false;
    }
    // Another: that one went away while it waited.
  }
  return true;
}

void StreamListener::welcome(UniqueFd socket) {
  if (half_open_.size() >= options_.half_open_max) {
    half_open_.front()->close();
    half_open_.pop_front();
  }
  const std::string remote = remote_of(socket.get());
  const SocketPtr greeted = std::make_shared<HandshakeSocket>(control_, std::move(socket));
  half_open_.push_back(greeted);
  tasks_.spawn(serve(greeted, remote));
}

// ---- one connection ------------------------------------------------------------------------------------------------

awaitable<void> StreamListener::serve(SocketPtr socket, std::string remote) {
  auto greeted = co_await within(clock_, options_.handshake_max, greet(socket));
  std::erase(half_open_, socket);
  if (!greeted) co_return complain(remote, "it took too long");
  if (!*greeted) co_return complain(remote, greeted->error());
  Proved& proved = **greeted;
  const Hello& hello = proved.hello;
  Admission admission = co_await decide(proved);
  const Ready ready = admission.ready;
  const bool admitted = ready.refusal == StreamRefusal::none;
  CHECK(!admitted || (admission.shard != nullptr && admission.attach));
  std::vector<std::byte> answer = encode(ready);
  proved.transcript.prove(answer, keys_.front(), Transcript::Label::ready);
  const auto sent = co_await within(clock_, options_.handshake_max, socket->send(std::move(answer)));
  if (!admitted) {
    // A leader asks ten times a second.
    if (std::exchange(refused_[hello.unit_name], ready.text) != ready.text) {
      log_.notice("refused unit={} from={} reason={}", quoted(hello.unit_name), remote, quoted(ready.text));
    }
    co_return;
  }
  if (!sent || *sent) {
    log_.notice("gone before it was ready unit={} from={}", quoted(hello.unit_name), remote);
    co_return;
  }
  TcpStreamOptions stream{.silence_max = options_.silence_max, .keys = {}, .version = proved.version};
  std::unique_ptr<TlsEngine> tls;
  if (proved.auth == StreamAuth::hmac) {
    stream.keys = {.sending = proved.transcript.derive(proved.leader_key, Transcript::Label::follower_messages),
                   .receiving = proved.transcript.derive(proved.leader_key, Transcript::Label::leader_messages)};
  }
  if (proved.auth == StreamAuth::tls) {
    tls = make_tls(proved);
    const auto done = co_await within(clock_, options_.handshake_max, shake_hands(*socket, *tls));
    if (!done || !*done) {
      const std::string why = done ? done->error() : "TLS: it took too long";
      log_.warning("not encrypted, not connected unit={} from={} reason={}", quoted(hello.unit_name), remote,
                   quoted(why));
      co_return;
    }
  }
  refused_.erase(hello.unit_name);
  log_.info("connected unit={} from={} stream_auth={}", quoted(hello.unit_name), remote, name(proved.auth));
  auto attach = [to = std::make_unique<TcpStream>(socket->release(), *admission.shard, stream, std::move(tls)),
                 attach_to = std::move(admission.attach),
                 version = proved.version]() mutable { attach_to(std::move(to), version); };
  admission.shard->post(std::move(attach));
}

// Up to the leader's proof: nothing of the node is told or touched, but for who it is and in which life.
awaitable<std::expected<StreamListener::Proved, std::string>> StreamListener::greet(SocketPtr socket) {
  const Result<std::vector<std::byte>> said = co_await socket->receive();
  if (!said) co_return std::unexpected("greeting: " + said.error().message());
  Result<Hello> hello = decode_hello(*said);
  if (!hello) co_return std::unexpected("greeting: " + hello.error().message());
  Proved proved{.hello = std::move(*hello)};
  proved.transcript.add_hello(*said);
  const bool common = proved.hello.version_min <= options_.version_max;
  proved.version = std::min(proved.hello.version_max, options_.version_max);
  proved.auth = std::max(proved.hello.auth, options_.auth);
  // To one who does not know the word the strongest that it knows; why that is not enough it hears with Ready.
  const StreamAuth known = proved.version < stream_version_tls ? StreamAuth::hmac : StreamAuth::tls;
  const Welcome welcome{.version = proved.version,
                        .from = options_.self,
                        .incarnation = options_.incarnation,
                        .auth = std::min(proved.auth, known),
                        .nonce = random_nonce()};
  std::vector<std::byte> answer = encode(welcome);
  proved.transcript.prove(answer, keys_.front(), Transcript::Label::welcome);
  if (const error_code error = co_await socket->send(std::move(answer))) {
    co_return std::unexpected("welcome: " + error.message());
  }
  const Result<std::vector<std::byte>> proof = co_await socket->receive();
  if (!proof) {
    const std::string hint = common ? " (has it another key?)" : " (it speaks later versions only)";
    co_return std::unexpected("waiting for its proof: " + proof.error().message() + hint);
  }
  if (const auto whole = decode_proof(*proof); !whole) co_return std::unexpected("proof: " + whole.error().message());
  const auto right = proved.transcript.check(*proof, keys_, Transcript::Label::proof);
  if (!right) co_return std::unexpected("it does not have this cluster's key");
  if (!common) co_return std::unexpected("it speaks later versions only");
  proved.leader_key = *right;
  co_return proved;
}

awaitable<Admission> StreamListener::decide(const Proved& proved) {
  const Hello& hello = proved.hello;
  if (hello.cluster != options_.cluster) {
    co_return Admission{.ready = {.refusal = StreamRefusal::cluster, .text = "this is another cluster"}};
  }
  if (hello.from != peer_of(options_.self)) {
    co_return Admission{.ready = {.refusal = StreamRefusal::cluster,
                                  .text = std::string("both say that they are node ") + name(options_.self)}};
  }
  if (proved.auth == StreamAuth::tls && proved.version < stream_version_tls) {
    const std::string text = fmt::format(
        "stream_auth tls is wanted on node {}, and node {}, which speaks version {} of the replication, does not know "
        "it: upgrade it, or want less until then",
        name(options_.self), name(hello.from), proved.version);
    co_return Admission{.ready = {.refusal = StreamRefusal::version, .text = text}};
  }
  co_return co_await admit_(hello);
}

// Knows the leader by any of the keys that count here.
std::unique_ptr<TlsEngine> StreamListener::make_tls(const Proved& proved) const {
  std::vector<TlsKey> accepted;
  for (const Key& key : keys_) {
    const std::string key_name = tls_key_name(options_.cluster_name, proved.hello.from, key);
    accepted.push_back({.name = key_name, .key = proved.transcript.derive_tls(key, key_name)});
  }
  return TlsEngine::accepting(std::move(accepted));
}

// About a stranger: not more often than anybody reads.
void StreamListener::complain(const std::string& remote, const std::string& why) {
  if (clock_.now() < complain_again_) {
    ++complaints_kept_back_;
    return;
  }
  complain_again_ = clock_.now() + complaint_interval;
  log_.warning("not admitted from={} reason={} more={}", remote, quoted(why), std::exchange(complaints_kept_back_, 0));
}

}  // namespace mpath::target::replication
