#include "target/cluster/agreement_links.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <optional>
#include <utility>

#include "base/check.hpp"
#include "target/cluster/frame_window.hpp"
#include "wire/error.hpp"
#include "wire/iscsi_text.hpp"

namespace mpath::target::cluster {
namespace {

namespace asio = boost::asio;
using asio::ip::udp;
using boost_error = boost::system::error_code;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t frame_bytes_max = head_bytes + body_bytes_max + tag_bytes;
constexpr int frames_per_wake = 64;
constexpr int frames_per_drain = 512;  // what a socket holds by default, about
constexpr Duration open_again_after = milliseconds(500);
constexpr Duration complain_again_after = seconds(10);
// Where a member was heard from within this time, an answer goes as well.
constexpr Duration origin_kept = seconds(10);
constexpr std::size_t origins_max = 8;  // of one link
constexpr int priority_of_control = 6;  // the highest that needs no privilege

std::string text_of(const udp::endpoint& endpoint) {
  return iscsi::format_target_address({.host = endpoint.address().to_string(), .port = endpoint.port()});
}

std::expected<udp::endpoint, std::string> endpoint_of(const Portal& portal) {
  boost_error error;
  const auto address = asio::ip::make_address(portal.address, error);
  if (error) return std::unexpected(fmt::format("'{}' is no numeric address", portal.address));
  return udp::endpoint(address, portal.port);
}

bool would_block(const boost_error& error) {
  return error == asio::error::would_block || error == asio::error::try_again;
}

}  // namespace

std::vector<LinkOptions> make_links(Member self, std::span<const Portal> a, std::span<const Portal> b,
                                    std::span<const Portal> witness) {
  const Member peer = peer_of(self);
  const auto ours = self == Member::a ? a : b;
  const auto theirs = self == Member::a ? b : a;
  std::vector<LinkOptions> links;
  for (std::size_t index = 0; index < ours.size(); ++index) {
    LinkOptions link{.local = ours[index], .remotes = {}};
    if (index < theirs.size()) link.remotes.push_back({.member = peer, .address = theirs[index]});
    links.push_back(std::move(link));
  }
  if (links.empty() || witness.empty()) return links;
  for (std::size_t turn = 0; turn < std::max(links.size(), witness.size()); ++turn) {
    const LinkRemote remote{.member = Member::witness, .address = witness[turn % witness.size()]};
    links[turn % links.size()].remotes.push_back(remote);
  }
  return links;
}

struct AgreementLinks::Impl : std::enable_shared_from_this<Impl> {
  struct Remote {
    Member member = Member::b;
    udp::endpoint endpoint;
    TimePoint heard;  // or since when it is waited for
    bool met = false;
    bool silent = false;  // as was logged
    std::uint64_t sent = 0, received = 0, refused = 0;
  };
  struct Link {
    Link(asio::io_context& control, unsigned given, udp::endpoint own)
        : index(given), local(std::move(own)), socket(control) {}
    unsigned index;
    udp::endpoint local;
    udp::socket socket;
    std::vector<Remote> remotes;
    bool missing = false;     // logged that it cannot be opened
    boost_error send_failed;  // as was logged
  };

  Impl(asio::io_context& loop, Clock& given_clock, AgreementLinksOptions given, Receive to, const Log& about)
      : control(loop),
        clock(given_clock),
        options(std::move(given)),
        receive(std::move(to)),
        log(about.about("links")) {}

  asio::io_context& control;
  Clock& clock;
  AgreementLinksOptions options;
  Receive receive;
  Log log;
  std::vector<std::unique_ptr<Link>> links;
  std::array<FrameWindow, 3> windows;
  std::uint64_t number = 0;  // of the last frame
  std::uint64_t strangers = 0;
  std::unique_ptr<Alarm> reopen;
  TimePoint complain_at = TimePoint::min();
  std::uint64_t not_complained_of = 0;
  bool closed = false;

  // --- opening

  std::expected<void, std::string> make() {
    if (options.keys.empty()) return std::unexpected("the links have no key");
    if (options.links.size() > FrameWindow::links_max)
      return std::unexpected(fmt::format("{} links: at most {}", options.links.size(), FrameWindow::links_max));
    for (const LinkOptions& wanted : options.links) {
      const auto local = endpoint_of(wanted.local);
      if (!local) return std::unexpected(local.error());
      auto link = std::make_unique<Link>(control, static_cast<unsigned>(links.size()), *local);
      for (const LinkRemote& remote : wanted.remotes) {
        const auto endpoint = endpoint_of(remote.address);
        if (!endpoint) return std::unexpected(endpoint.error());
        if (endpoint->protocol() != local->protocol())
          return std::unexpected(
              fmt::format("{} and {} are of different kinds of IP", text_of(*local), text_of(*endpoint)));
        link->remotes.push_back({.member = remote.member, .endpoint = *endpoint, .heard = clock.now()});
      }
      links.push_back(std::move(link));
    }
    const auto again = [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->open_all();
    };
    reopen = clock.make_alarm(again);
    open_all();
    return {};
  }

  void open_all() {
    if (closed) return;
    bool all = true;
    for (const auto& link : links) {
      if (!link->socket.is_open()) all = open(*link) && all;
    }
    if (!all) reopen->set(clock.now() + open_again_after);
  }

  bool open(Link& link) {
    boost_error error;
    udp::socket& socket = link.socket;
    socket.open(link.local.protocol(), error);
    if (!error && link.local.address().is_v6()) socket.set_option(asio::ip::v6_only(true), error);
    if (!error) socket.non_blocking(true, error);
    // Not behind a full queue of replicated data. Without it they get through as well, so that its failure is none.
    if (!error) {
      ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_PRIORITY, &priority_of_control, sizeof priority_of_control);
      socket.bind(link.local, error);
    }
    if (error) {
      if (!link.missing)
        log.warning("{} cannot be used yet reason={}", text_of(link.local), mpath::quoted(error.message()));
      link.missing = true;
      boost_error ignored;
      socket.close(ignored);
      return false;
    }
    if (link.missing) log.notice("{} is there now", text_of(link.local));
    link.missing = false;
    wait(link);
    return true;
  }

  void close() {
    closed = true;
    reopen.reset();
    boost_error ignored;
    for (const auto& link : links) link->socket.close(ignored);
  }

  // --- sending

  void send(Member to, const Message& message) {
    if (closed) return;
    const std::vector<std::byte> bytes = encode({.number = ++number, .message = message}, &options.keys.front());
    for (const auto& link : links) {
      if (!link->socket.is_open()) continue;
      for (Remote& remote : link->remotes) {
        if (remote.member == to && (!options.answers_only || clock.now() - remote.heard < origin_kept)) {
          send(*link, remote, bytes);
        }
      }
    }
  }

  void send(Link& link, Remote& remote, std::span<const std::byte> bytes) const {
    boost_error error;
    link.socket.send_to(asio::buffer(bytes.data(), bytes.size()), remote.endpoint, 0, error);
    if (!error) ++remote.sent;
    if (error == link.send_failed) return;
    link.send_failed = error;
    if (error) log.info("{} cannot send reason={}", text_of(link.local), mpath::quoted(error.message()));
  }

  // --- receiving

  void wait(Link& link) {
    const auto readable = [weak = weak_from_this(), &link](const boost_error& error) {
      const auto self = weak.lock();
      if (error || !self || !link.socket.is_open()) return;
      self->receive_some(link, frames_per_wake);
      if (link.socket.is_open()) self->wait(link);
    };
    link.socket.async_wait(udp::socket::wait_read, readable);
  }

  void receive_some(Link& link, int frames) {
    std::array<std::byte, frame_bytes_max + 1> bytes;  // one more than allowed shows what is too long
    for (int i = 0; i < frames && link.socket.is_open(); ++i) {
      udp::endpoint from;
      boost_error error;
      const std::size_t size = link.socket.receive_from(asio::buffer(bytes), from, 0, error);
      if (would_block(error)) return;
      if (error) {
        log.warning("{} is opened again reason={}", text_of(link.local), mpath::quoted(error.message()));
        boost_error ignored;
        link.socket.close(ignored);
        reopen->set(clock.now() + open_again_after);
        return;
      }
      take(link, from, std::span(bytes).first(size));
    }
  }

  void take(Link& link, const udp::endpoint& from, std::span<const std::byte> bytes) {
    Result<Frame> frame = failure(WireErrc::bad_digest);
    for (const Key& key : options.keys) {
      frame = decode(bytes, &key);
      if (frame || frame.error() != WireErrc::bad_digest) break;
    }
    if (!frame) return refuse(link, from, frame.error().message());
    const Message& message = frame->message;
    // Our own words, sent back to us: they would be taken for what we told ourselves.
    if (message.from == options.self) return refuse(link, from, "it is one of our own");
    FrameWindow& window = windows[static_cast<std::size_t>(message.from)];
    const FrameWindow::Verdict verdict = window.take(message.incarnation, frame->number, link.index);
    switch (verdict) {
      case FrameWindow::Verdict::old_life:
        return refuse(link, from, fmt::format("it is of an older life of {}", name(message.from)));
      case FrameWindow::Verdict::repeated:
        return refuse(link, from, "it came before");
      case FrameWindow::Verdict::fresh:
      case FrameWindow::Verdict::copy:
        break;
    }
    heard(link, message.from, from);
    if (verdict == FrameWindow::Verdict::fresh) receive(message);
  }

  void heard(Link& link, Member member, const udp::endpoint& from) {
    Remote* remote = remote_of(link, from, member);
    if (remote == nullptr && options.answers_only) remote = &new_origin(link, member, from);
    if (remote == nullptr) return;
    remote->heard = clock.now();
    remote->met = true;
    ++remote->received;
  }

  // The one with that address; else, where addresses are configured, the first of that member: its packets may leave
  // by another of its addresses.
  Remote* remote_of(Link& link, const udp::endpoint& from, std::optional<Member> member) const {
    for (Remote& remote : link.remotes) {
      if (remote.endpoint == from && (!member || remote.member == *member)) return &remote;
    }
    if (!member || options.answers_only) return nullptr;
    for (Remote& remote : link.remotes) {
      if (remote.member == *member) return &remote;
    }
    return nullptr;
  }

  Remote& new_origin(Link& link, Member member, const udp::endpoint& from) const {
    // Members that come back from ever new addresses push out the ones that were not heard for longest.
    if (link.remotes.size() == origins_max) {
      link.remotes.erase(std::ranges::min_element(link.remotes, {}, &Remote::heard));
    }
    return link.remotes.emplace_back(Remote{.member = member, .endpoint = from, .heard = clock.now()});
  }

  void refuse(Link& link, const udp::endpoint& from, const std::string& why) {
    Remote* const remote = remote_of(link, from, std::nullopt);
    ++(remote != nullptr ? remote->refused : strangers);
    if (clock.now() < complain_at) {
      ++not_complained_of;
      return;
    }
    complain_at = clock.now() + complain_again_after;
    log.warning("frame refused from={} on={} reason={} more={}", text_of(from), text_of(link.local), mpath::quoted(why),
                std::exchange(not_complained_of, 0));
  }

  // --- what is known

  [[nodiscard]] bool is_silent(const Remote& remote) const { return clock.now() - remote.heard >= options.deadtime; }

  void watch() {
    for (const auto& link : links) {
      for (Remote& remote : link->remotes) {
        const bool silent = is_silent(remote);
        if (silent == remote.silent) continue;
        remote.silent = silent;
        const std::string way =
            fmt::format("{} to {} at {}", text_of(link->local), name(remote.member), text_of(remote.endpoint));
        if (silent) {
          log.warning("{}: {}", way, remote.met ? "silent" : "not heard yet");
        } else {
          log.notice("{}: heard", way);
        }
      }
    }
  }

  [[nodiscard]] std::vector<LinkStatus> status() const {
    std::vector<LinkStatus> all;
    for (const auto& link : links) {
      for (const Remote& remote : link->remotes) {
        all.push_back({.to = remote.member,
                       .local = text_of(link->local),
                       .remote = text_of(remote.endpoint),
                       .heard = remote.met && !is_silent(remote),
                       .silent = std::chrono::duration_cast<milliseconds>(clock.now() - remote.heard),
                       .sent = remote.sent,
                       .received = remote.received,
                       .refused = remote.refused});
      }
    }
    return all;
  }
};

AgreementLinks::AgreementLinks(asio::io_context& control, Clock& clock, AgreementLinksOptions options, Receive receive,
                               const Log& log)
    : impl_(std::make_shared<Impl>(control, clock, std::move(options), std::move(receive), log)) {}

AgreementLinks::~AgreementLinks() {
  impl_->close();
}

std::expected<void, std::string> AgreementLinks::open() {
  CHECK(impl_->links.empty() && !impl_->closed);
  return impl_->make();
}

void AgreementLinks::close() {
  impl_->close();
}

void AgreementLinks::send(Member to, const Message& message) {
  impl_->send(to, message);
}

void AgreementLinks::set_keys(std::vector<Key> keys) {
  CHECK(!keys.empty());
  impl_->options.keys = std::move(keys);
}

void AgreementLinks::drain() {
  const auto alive = impl_;
  for (const auto& link : alive->links) alive->receive_some(*link, frames_per_drain);
}

void AgreementLinks::watch() {
  impl_->watch();
}

std::vector<LinkStatus> AgreementLinks::status() const {
  return impl_->status();
}

std::size_t AgreementLinks::open_links() const {
  const auto is_open = [](const auto& link) { return link->socket.is_open(); };
  return static_cast<std::size_t>(std::ranges::count_if(impl_->links, is_open));
}

Portal AgreementLinks::listening(std::size_t index) const {
  const Impl::Link& link = *impl_->links.at(index);
  boost_error error;
  const udp::endpoint bound = link.socket.local_endpoint(error);
  return {.address = link.local.address().to_string(), .port = error ? std::uint16_t{0} : bound.port()};
}

std::uint64_t AgreementLinks::refused_of_strangers() const {
  return impl_->strangers;
}

}  // namespace mpath::target::cluster
