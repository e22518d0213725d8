#include "exports/nbd_server.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <list>
#include <map>
#include <optional>

#include "base/event.hpp"
#include "base/sleep.hpp"
#include "base/task_group.hpp"
#include "base/unix_socket.hpp"
#include "base/within.hpp"

namespace mpath {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using Descriptor = asio::posix::stream_descriptor;
constexpr auto as_tuple = asio::as_tuple(asio::use_awaitable);

constexpr int accepts_per_wake = 16;
constexpr int unix_send_buffer = 1 << 20;
constexpr std::chrono::milliseconds out_of_files_pause{100};

int socket_option(int fd, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

void set_option(int fd, int level, int name, int value) {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

// What a socket needs before a client is served on it.
void prepare_client(int fd) {
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  if (socket_option(fd, SO_DOMAIN) == AF_UNIX) {
    set_option(fd, SOL_SOCKET, SO_SNDBUF, unix_send_buffer);  // the default holds little more than three 64 KiB replies
    return;
  }
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);  // replies leave in batches of our own making
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

// Who is at the other end, for the log.
std::string peer_text(int fd) {
  if (socket_option(fd, SO_DOMAIN) == AF_UNIX) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return "unix";
    return fmt::format("unix uid={} pid={}", peer.uid, peer.pid);
  }
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "unknown";
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &in.sin_addr, text.data(), text.size());
    return fmt::format("{}:{}", text.data(), ntohs(in.sin_port));
  }
  const auto& in6 = reinterpret_cast<const sockaddr_in6&>(address);
  ::inet_ntop(AF_INET6, &in6.sin6_addr, text.data(), text.size());
  return fmt::format("[{}]:{}", text.data(), ntohs(in6.sin6_port));
}

}  // namespace

// Handlers that shards post back hold the Impl weakly; coroutines belong to its TaskGroup.
class NbdServer::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(asio::io_context& control, Clock& clock, const Log& log, NbdServerOptions options)
      : control_(control),
        clock_(clock),
        log_(log.about("nbd")),
        options_(std::move(options)),
        all_left_(control.get_executor()),
        tasks_(control.get_executor()) {
    options_.handshake.payload_max = options_.exports.connection.payload_max;
  }

  error_code add_export(const std::string& name, BlockDevice& device, Shard& shard, std::function<void()> ready);
  bool remove_export(const std::string& name, std::function<void()> removed);
  Result<std::uint16_t> listen_tcp(const std::string& address, std::uint16_t port);
  error_code listen_unix_socket(const std::filesystem::path& path);
  error_code adopt(UniqueFd socket, const std::string& only);
  awaitable<void> close();
  std::vector<NbdExportStatus> exports() const;
  std::uint32_t half_open() const { return static_cast<std::uint32_t>(half_open_.size()); }

 private:
  // A listening socket. `only`: the one export it offers, or empty for all.
  struct Listener {
    Descriptor descriptor;
    std::string only;
    std::filesystem::path path;  // removed with it, if not empty
    Listener(asio::io_context& control, UniqueFd fd, std::string only_export, std::filesystem::path socket_path)
        : descriptor(control, fd.release()), only(std::move(only_export)), path(std::move(socket_path)) {}
    ~Listener() { end(); }
    void end() {
      boost::system::error_code ignored;
      if (descriptor.is_open() && !path.empty()) ::unlink(path.c_str());
      descriptor.close(ignored);
    }
  };
  using ListenerPtr = std::shared_ptr<Listener>;

  struct Entry {
    std::uint64_t id;  // tells an export from a later one of the same name
    Shard* shard;
    std::shared_ptr<NbdExport> shard_side;  // touched on the shard only
    ListenerPtr listener;
    NbdExportStatus status;
  };

  // A client whose handshake is going on.
  struct Client {
    Descriptor descriptor;
    std::string only;
    std::uint64_t entry_id = 0;  // of the export that was agreed on
    NbdHandshake handshake;
    std::vector<std::byte> out;
    std::array<std::byte, 4096> in;
    Client(asio::io_context& control, UniqueFd fd, std::string only_export, const NbdHandshakeLimits& limits)
        : descriptor(control, fd.release()), only(std::move(only_export)), handshake(limits) {}
  };
  using ClientPtr = std::shared_ptr<Client>;

  NbdExport::Events events_of(const std::string& name, std::uint64_t id);
  template <typename Function>
  void on_control(const std::string& name, std::uint64_t id, Function function);
  Entry* find(const std::string& name, std::uint64_t id);
  Entry* find_by_name(const std::string& name);

  void start_listener(ListenerPtr listener);
  awaitable<void> accept_loop(ListenerPtr listener);
  int accept_some(Listener& listener);
  void welcome(UniqueFd socket, const std::string& only);
  awaitable<void> serve_handshake(ClientPtr client);
  awaitable<bool> negotiate(Client& client);
  awaitable<bool> send_all(Client& client);
  void hand_over(Client& client);
  std::vector<NbdOffer> offers(const std::string& only) const;
  void tell_if_idle();

  // Constant after construction.
  asio::io_context& control_;
  Clock& clock_;
  Log log_;
  NbdServerOptions options_;

  std::uint64_t last_id_ = 0;
  std::map<std::string, Entry> entries_;
  std::vector<ListenerPtr> shared_listeners_;
  std::list<ClientPtr> half_open_;  // oldest first
  std::uint32_t connections_ = 0;   // handed over and not ended
  std::uint32_t leaving_ = 0;       // exports that are being drained
  Event all_left_;
  bool closing_ = false;
  TaskGroup tasks_;
};

// ---- exports -------------------------------------------------------------------------------------------------------

error_code NbdServer::Impl::add_export(const std::string& name, BlockDevice& device, Shard& shard,
                                       std::function<void()> ready) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) return errno_code(EINVAL);
  if (closing_) return errno_code(ESHUTDOWN);
  if (entries_.contains(name)) return errno_code(EEXIST);
  ListenerPtr listener;
  if (!options_.directory.empty()) {
    const std::filesystem::path path = options_.directory / (name + ".sock");
    Result<UniqueFd> socket = listen_unix(path, options_.socket_mode);
    if (!socket) return socket.error();
    listener = std::make_shared<Listener>(control_, std::move(*socket), name, path);
  }
  const std::uint64_t id = ++last_id_;
  auto shard_side = std::make_shared<NbdExport>(device, shard, options_.exports, events_of(name, id));
  Entry added{
      .id = id, .shard = &shard, .shard_side = shard_side, .listener = std::move(listener), .status = {.name = name}};
  if (added.listener) added.status.socket = added.listener->path;
  entries_.emplace(name, std::move(added));

  // Clients wait in the listener's backlog until the limits are known.
  shard.post([this, weak = weak_from_this(), shard_side = std::move(shard_side), name, id,
              ready = std::move(ready)]() mutable {
    const BlockLimits limits = shard_side->open();
    asio::post(control_, [this, weak = std::move(weak), name, id, limits, ready = std::move(ready)] {
      const auto alive = weak.lock();
      Entry* const entry = alive ? find(name, id) : nullptr;
      if (entry == nullptr) return;
      entry->status.limits = limits;
      entry->status.ready = true;
      log_.notice("offered export={} bytes={} socket={}", mpath::quoted(name), limits.size_bytes,
                  mpath::quoted(entry->status.socket.string()));
      if (entry->listener) start_listener(entry->listener);
      if (ready) ready();
    });
  });
  return {};
}

// Runs function(entry) on the control thread, if the export is still the same then. Called on shards.
template <typename Function>
void NbdServer::Impl::on_control(const std::string& name, std::uint64_t id, Function function) {
  asio::post(control_, [this, weak = weak_from_this(), name, id, function = std::move(function)] {
    if (const auto alive = weak.lock()) function(find(name, id));
  });
}

NbdExport::Events NbdServer::Impl::events_of(const std::string& name, std::uint64_t id) {
  // Shards outlive the exports on them, and so does the Impl: remove_export() is what ends an export.
  NbdExport::Events events;
  events.limits_changed = [this, name, id](const BlockLimits& limits) {
    on_control(name, id, [this, name, limits](Entry* entry) {
      log_.notice("changed export={} bytes={} read_only={}", mpath::quoted(name), limits.size_bytes, limits.read_only);
      if (entry != nullptr) entry->status.limits = limits;
    });
  };
  events.gone = [this, name, id] {
    on_control(name, id, [this, name](Entry* entry) {
      log_.notice("device gone export={}", mpath::quoted(name));
      if (entry != nullptr) entry->status.ready = false;
    });
  };
  events.connection_ended = [this, name, id](error_code why, const NbdCounters& counters) {
    on_control(name, id, [this, name, why, counters](Entry* entry) {
      --connections_;
      log_.info("client ended export={} reason={} requests={} errors={}", mpath::quoted(name),
                mpath::quoted(why ? why.message() : "disconnect"), counters.requests, counters.errors);
      if (entry != nullptr) {
        --entry->status.connections;
        entry->status.ended += counters;
      }
      tell_if_idle();
    });
  };
  return events;
}

bool NbdServer::Impl::remove_export(const std::string& name, std::function<void()> removed) {
  const auto at = entries_.find(name);
  if (at == entries_.end()) return false;
  Entry entry = std::move(at->second);
  entries_.erase(at);
  if (entry.listener) entry.listener->end();
  ++leaving_;
  // The shard side is destroyed on its shard, then home is told.
  auto home = [this, self = shared_from_this(), name, removed = std::move(removed)] {
    log_.notice("withdrawn export={}", mpath::quoted(name));
    if (--leaving_ == 0) all_left_.set();
    if (removed) removed();
  };
  Shard& shard = *entry.shard;
  shard.post([this, shard_side = std::move(entry.shard_side), home = std::move(home)]() mutable {
    NbdExport& leaving = *shard_side;
    leaving.drain([this, shard_side = std::move(shard_side), home = std::move(home)]() mutable {
      shard_side.reset();
      asio::post(control_, std::move(home));
    });
  });
  return true;
}

NbdServer::Impl::Entry* NbdServer::Impl::find_by_name(const std::string& name) {
  const auto at = entries_.find(name);
  return at == entries_.end() ? nullptr : &at->second;
}

NbdServer::Impl::Entry* NbdServer::Impl::find(const std::string& name, std::uint64_t id) {
  Entry* const entry = find_by_name(name);
  return entry != nullptr && entry->id == id ? entry : nullptr;
}

std::vector<NbdOffer> NbdServer::Impl::offers(const std::string& only) const {
  std::vector<NbdOffer> list;
  for (const auto& [name, entry] : entries_) {
    if (entry.status.ready && (only.empty() || only == name))
      list.push_back({.name = name, .limits = entry.status.limits});
  }
  return list;
}

std::vector<NbdExportStatus> NbdServer::Impl::exports() const {
  std::vector<NbdExportStatus> list;
  for (const auto& [name, entry] : entries_) list.push_back(entry.status);
  return list;
}

void NbdServer::Impl::tell_if_idle() {
  if (connections_ == 0 && half_open_.empty() && options_.on_idle) options_.on_idle();
}

// ---- listening

Result<std::uint16_t> NbdServer::Impl::listen_tcp(const std::string& address, std::uint16_t port) {
  boost::system::error_code error;
  const auto ip = asio::ip::make_address(address, error);
  if (error) return failure(EINVAL);
  const asio::ip::tcp::endpoint endpoint(ip, port);
  UniqueFd socket(::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return failure(errno);
  set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (::bind(socket.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0) return failure(errno);
  if (::listen(socket.get(), SOMAXCONN) != 0) return failure(errno);
  asio::ip::tcp::endpoint bound;
  auto size = static_cast<socklen_t>(bound.capacity());
  if (::getsockname(socket.get(), bound.data(), &size) != 0) return failure(errno);
  bound.resize(size);
  start_listener(shared_listeners_.emplace_back(
      std::make_shared<Listener>(control_, std::move(socket), std::string(), std::filesystem::path())));
  return bound.port();
}

error_code NbdServer::Impl::listen_unix_socket(const std::filesystem::path& path) {
  Result<UniqueFd> socket = listen_unix(path, options_.socket_mode);
  if (!socket) return socket.error();
  start_listener(
      shared_listeners_.emplace_back(std::make_shared<Listener>(control_, std::move(*socket), std::string(), path)));
  return {};
}

error_code NbdServer::Impl::adopt(UniqueFd socket, const std::string& only) {
  if (socket_option(socket.get(), SO_TYPE) != SOCK_STREAM) return errno_code(EINVAL);
  if (socket_option(socket.get(), SO_ACCEPTCONN) != 1) {
    prepare_client(socket.get());
    welcome(std::move(socket), only);
    return {};
  }
  ::fcntl(socket.get(), F_SETFD, FD_CLOEXEC);
  ::fcntl(socket.get(), F_SETFL, ::fcntl(socket.get(), F_GETFL) | O_NONBLOCK);
  start_listener(shared_listeners_.emplace_back(
      std::make_shared<Listener>(control_, std::move(socket), only, std::filesystem::path())));
  return {};
}

void NbdServer::Impl::start_listener(ListenerPtr listener) {
  tasks_.spawn(accept_loop(std::move(listener)));
}

awaitable<void> NbdServer::Impl::accept_loop(ListenerPtr listener) {
  for (;;) {
    const auto [error] = co_await listener->descriptor.async_wait(Descriptor::wait_read, as_tuple);
    if (error) co_return;
    const int failed = accept_some(*listener);
    if (failed == 0) continue;
    log_.warning("cannot accept reason={}", mpath::quoted(errno_code(failed).message()));
    // Out of files or memory: the backlog holds the clients until something was closed.
    if (co_await sleep_for(clock_, out_of_files_pause)) co_return;
    if (!listener->descriptor.is_open()) co_return;
  }
}

// Accepts what waits. Returns the errno of a shortage, else 0.
int NbdServer::Impl::accept_some(Listener& listener) {
  for (int i = 0; i < accepts_per_wake; ++i) {
    UniqueFd socket(::accept4(listener.descriptor.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      const bool shortage = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
      if (shortage) return errno;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
      continue;  // that client went away while it waited
    }
    prepare_client(socket.get());
    welcome(std::move(socket), listener.only);
  }
  return 0;
}

// ---- handshakes

void NbdServer::Impl::welcome(UniqueFd socket, const std::string& only) {
  if (closing_) return;
  if (half_open_.size() >= options_.half_open_max) {
    log_.warning("handshake cut off reason=\"too many at a time\" limit={}", options_.half_open_max);
    boost::system::error_code ignored;
    half_open_.front()->descriptor.close(ignored);  // its coroutine ends by that
    half_open_.pop_front();
  }
  const ClientPtr& client =
      half_open_.emplace_back(std::make_shared<Client>(control_, std::move(socket), only, options_.handshake));
  tasks_.spawn(serve_handshake(client));
}

awaitable<void> NbdServer::Impl::serve_handshake(ClientPtr client) {
  const std::optional<bool> agreed = co_await within(clock_, options_.handshake_limit, negotiate(*client));
  std::erase(half_open_, client);
  if (agreed.value_or(false) && client->descriptor.is_open() && !closing_) {
    hand_over(*client);
  } else {
    const std::string_view why = client->handshake.why();
    log_.info("handshake ended reason={}", mpath::quoted(!agreed ? "timeout" : why.empty() ? "connection lost" : why));
  }
  tell_if_idle();
}

// True when the client is ready for transmission.
awaitable<bool> NbdServer::Impl::negotiate(Client& client) {
  client.handshake.greet(client.out);
  auto outcome = NbdHandshake::Outcome::more;
  for (;;) {
    if (!co_await send_all(client)) co_return false;
    if (outcome != NbdHandshake::Outcome::more) co_return outcome == NbdHandshake::Outcome::transmission;
    const auto [error] = co_await client.descriptor.async_wait(Descriptor::wait_read, as_tuple);
    if (error || !client.descriptor.is_open()) co_return false;
    const ssize_t got = ::recv(client.descriptor.native_handle(), client.in.data(), client.in.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) co_return false;
    const std::vector<NbdOffer> offered = offers(client.only);
    const auto received = std::span(client.in).first(static_cast<std::size_t>(got));
    outcome = client.handshake.feed(received, offered, client.out);
    if (outcome != NbdHandshake::Outcome::transmission) continue;
    client.entry_id = find_by_name(client.handshake.agreement().export_name)->id;
  }
}

awaitable<bool> NbdServer::Impl::send_all(Client& client) {
  std::size_t sent = 0;
  while (sent < client.out.size()) {
    const ssize_t count = ::send(client.descriptor.native_handle(), client.out.data() + sent, client.out.size() - sent,
                                 MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count >= 0) {
      sent += static_cast<std::size_t>(count);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return false;
    const auto [error] = co_await client.descriptor.async_wait(Descriptor::wait_write, as_tuple);
    if (error || !client.descriptor.is_open()) co_return false;
  }
  client.out.clear();
  co_return true;
}

// The socket leaves this thread's loop and joins the shard's.
void NbdServer::Impl::hand_over(Client& client) {
  const NbdAgreement& agreement = client.handshake.agreement();
  Entry* const entry = find(agreement.export_name, client.entry_id);
  if (entry == nullptr || !entry->status.ready || entry->status.connections >= options_.connections_max) {
    log_.warning("client turned away export={} connections={}", mpath::quoted(agreement.export_name),
                 entry == nullptr ? 0 : entry->status.connections);
    return;
  }
  log_.info("client connected export={} peer={} structured={} allocation={}", mpath::quoted(agreement.export_name),
            mpath::quoted(peer_text(client.descriptor.native_handle())), agreement.structured_replies,
            agreement.base_allocation);
  ++entry->status.connections;
  ++connections_;
  const auto rest = client.handshake.rest();
  entry->shard->post([shard_side = entry->shard_side, socket = UniqueFd(client.descriptor.release()), agreement,
                      already = std::vector<std::byte>(rest.begin(), rest.end())]() mutable {
    shard_side->admit(std::move(socket), agreement, already);
  });
}

// ---- end

awaitable<void> NbdServer::Impl::close() {
  closing_ = true;
  for (const ListenerPtr& listener : shared_listeners_) listener->end();
  shared_listeners_.clear();
  co_await tasks_.close();
  half_open_.clear();
  while (!entries_.empty()) {
    const std::string name = entries_.begin()->first;
    remove_export(name, {});
  }
  while (leaving_ > 0) {
    all_left_.clear();
    co_await all_left_.wait_uncancelled();
  }
}

// ---- the public face

NbdServer::NbdServer(asio::io_context& control, Clock& clock, const Log& log, NbdServerOptions options)
    : impl_(std::make_shared<Impl>(control, clock, log, std::move(options))) {}
NbdServer::~NbdServer() = default;

error_code NbdServer::add_export(const std::string& name, BlockDevice& device, Shard& shard,
                                 std::function<void()> ready) {
  return impl_->add_export(name, device, shard, std::move(ready));
}
bool NbdServer::remove_export(const std::string& name, std::function<void()> removed) {
  return impl_->remove_export(name, std::move(removed));
}
Result<std::uint16_t> NbdServer::listen_tcp(const std::string& address, std::uint16_t port) {
  return impl_->listen_tcp(address, port);
}
error_code NbdServer::listen_unix_socket(const std::filesystem::path& path) {
  return impl_->listen_unix_socket(path);
}
error_code NbdServer::adopt(UniqueFd socket, const std::string& only) {
  return impl_->adopt(std::move(socket), only);
}
awaitable<void> NbdServer::close() {
  return impl_->close();
}
std::vector<NbdExportStatus> NbdServer::exports() const {
  return impl_->exports();
}
std::uint32_t NbdServer::half_open() const {
  return impl_->half_open();
}

}  // namespace mpath
