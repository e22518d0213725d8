// The streams of a pair's copies: dialled by the node that leads, admitted by the one that follows; each over all links
// between the two, of which those that are lost are dialled again.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/run_on.hpp"
#include "target/cluster/pair_impl.hpp"
#include "target/config/parse.hpp"
#include "target/replication/handshake_socket.hpp"

namespace mpath::target::cluster {
namespace {

using boost::asio::awaitable;
using replication::Orders;
using std::chrono::milliseconds;

constexpr milliseconds dial_pause{100};     // after a stream could not be made
constexpr milliseconds join_pause{500};     // after a link could not be made
constexpr milliseconds joined_pause{1000};  // before one that was made is made again

std::uint64_t random_id() {
  const Nonce nonce = replication::random_nonce();
  std::uint64_t id = 0;
  std::memcpy(&id, nonce.data(), sizeof id);
  return std::max<std::uint64_t>(id, 1);
}

}  // namespace

Hello Pair::Impl::hello_of(const Copy& copy) const {
  Hello hello;
  hello.cluster = cluster_id(config.name);
  std::ranges::copy(std::as_bytes(std::span(copy.unit.uuid)), hello.unit.begin());
  hello.unit_name = copy.unit.name;
  hello.from = self;
  hello.incarnation = agreement->incarnation();
  hello.view = agreement->fsm().view();
  hello.size_bytes = copy.shape.size_bytes;
  hello.block_bytes = copy.unit.unit->block_bytes();
  hello.extent_bytes = copy.shape.extent_bytes;
  hello.auth = config.stream_auth;
  return hello;
}

std::vector<replication::StreamLink> Pair::Impl::stream_links() const {
  const auto& own = config.addresses_of(self);
  const auto& theirs = config.addresses_of(peer);
  const auto states = agreement->links();
  const auto heard = [&](std::size_t link) {
    const std::string remote = format_portal(theirs[link]);
    return std::ranges::any_of(states, [&](const LinkStatus& state) { return state.heard && state.remote == remote; });
  };
  std::vector<replication::StreamLink> links;
  for (const bool wanted : {true, false}) {
    for (std::size_t link = 0; link < theirs.size(); ++link) {
      if (heard(link) != wanted) continue;
      links.push_back({.local = own[link].address,
                       .remote = theirs[link].address,
                       .port = theirs[link].port,
                       .index = static_cast<std::uint8_t>(link)});
    }
  }
  return links;
}

awaitable<void> Pair::Impl::dial(std::size_t index) {
  Copy& copy = *copies[index];
  const Orders orders = *copy.given;
  Hello hello = hello_of(copy);
  hello.stream = random_id();
  auto dialed = co_await dialer->connect(stream_links(), hello, keys.all(), *copy.unit.shard);
  if (dialed) {
    copy.link.clear();
    const bool fits = dialed->welcome.incarnation == orders.peer_incarnation && !stopping;
    const bool bonds = dialed->welcome.version > 1;
    std::shared_ptr<replication::BondedStream> bonded;
    if (bonds && fits) bonded = bond(index, hello.stream, orders.peer_incarnation, true);
    // A stream lives and ends on its shard.
    auto attach = [unit = copy.unit, made = std::move(dialed->stream), bonded = std::move(bonded), link = dialed->link,
                   fits, orders]() mutable {
      std::shared_ptr<replication::PeerStream> stream;
      if (bonded != nullptr) {
        bonded->add_link(link, std::move(made));
        stream = std::exchange(bonded, nullptr);
      } else {
        stream = std::move(made);
      }
      if (fits) unit.replica->attach(std::move(stream), orders.term, orders.peer_incarnation);
    };
    copy.unit.shard->post(std::move(attach));
    if (bonds && fits) {
      copy.bonded.counters.up = 1U << dialed->link;  // until it is asked
      copy.bonded.join_at[dialed->link] = clock.now() + joined_pause;
      join_links(index);
    }
  } else if (copy.link != dialed.error().text) {
    copy.link = dialed.error().text;
    log.notice("lu {}: no stream to the peer: {}", copy.unit.name, copy.link);
  }
  static_cast<void>(co_await sleep_for(clock, dial_pause));
  copy.dialing = false;
  update();
}

std::shared_ptr<replication::BondedStream> Pair::Impl::bond(std::size_t index, std::uint64_t id,
                                                            std::uint64_t peer_life, bool dialled_here) {
  Copy& copy = *copies[index];
  const std::size_t links = config.addresses_of(peer).size();
  replication::BondOptions options;
  options.first_link = index % links;
  options.stall_max = std::max<Duration>(config.deadtime / 10, milliseconds(20));
  auto made = std::make_shared<replication::BondedStream>(*copy.unit.shard, options);
  const Log about = log.about("lu " + copy.unit.name);
  std::vector<std::string> names;
  for (const Portal& portal : config.addresses_of(peer)) names.push_back(format_portal(portal));
  made->on_link = [about, names](std::size_t link, const std::string& why) {
    const std::string name = link < names.size() ? names[link] : std::to_string(link);
    if (why.empty()) return about.info("link up to={}", name);
    about.warning("link lost to={} reason={}", name, mpath::quoted(why));
  };
  copy.bonded = {};
  copy.bonded.stream = made;
  copy.bonded.id = id;
  copy.bonded.peer_life = peer_life;
  copy.bonded.dialled_here = dialled_here;
  return made;
}

void Pair::Impl::take_counters(std::size_t index, std::uint64_t id, const replication::BondCounters& counters) {
  Bonded& bonded = copies[index]->bonded;
  if (bonded.id == id) bonded.counters = counters;
}

// Each link that the stream lacks.
void Pair::Impl::join_links(std::size_t index) {
  Copy& copy = *copies[index];
  Bonded& bonded = copy.bonded;
  if (!bonded.dialled_here || bonded.counters.up == 0 || stopping || copy.held_apart) return;
  for (const replication::StreamLink& link : stream_links()) {
    const replication::Bond::Links bit = 1U << link.index;
    if (((bonded.counters.up | bonded.joining) & bit) != 0 || clock.now() < bonded.join_at[link.index]) continue;
    bonded.joining |= bit;
    tasks.spawn([this, index, link] { return join(index, link); });
  }
}

awaitable<void> Pair::Impl::join(std::size_t index, replication::StreamLink link) {
  Copy& copy = *copies[index];
  Hello hello = hello_of(copy);
  hello.stream = copy.bonded.id;
  hello.joins = true;
  const std::vector<replication::StreamLink> only{link};
  auto dialed = co_await dialer->connect(only, hello, keys.all(), *copy.unit.shard);
  Bonded& bonded = copy.bonded;
  if (bonded.id != hello.stream) co_return;  // it has ended, and there is another
  bonded.joining &= ~(1U << link.index);
  bonded.join_at[link.index] = clock.now() + (dialed ? joined_pause : join_pause);
  const bool fits = dialed && dialed->welcome.version > 1 && dialed->welcome.incarnation == bonded.peer_life;
  if (!fits || stopping) co_return;
  auto add = [stream = bonded.stream, made = std::move(dialed->stream), at = link.index]() mutable {
    if (const auto alive = stream.lock()) alive->add_link(at, std::move(made));
    made.reset();
  };
  copy.unit.shard->post(std::move(add));
}

awaitable<replication::Admission> Pair::Impl::admit(const Hello& hello) {
  replication::Admission admission;
  const auto refuse = [&admission](StreamRefusal why, std::string text) {
    admission.ready = {.refusal = why, .text = std::move(text)};
    return admission;
  };
  const auto place = std::ranges::find_if(copies, [&hello](const auto& copy) {
    return std::ranges::equal(std::as_bytes(std::span(copy->unit.uuid)), hello.unit);
  });
  if (place == copies.end() || !(*place)->open()) {
    co_return refuse(StreamRefusal::unit, fmt::format("node {} has no lu {} to copy to", name(self), hello.unit_name));
  }
  Copy& copy = **place;
  const std::uint32_t block_bytes = copy.unit.unit->block_bytes();
  if (hello.size_bytes != copy.shape.size_bytes || hello.block_bytes != block_bytes ||
      hello.extent_bytes != copy.shape.extent_bytes) {
    co_return refuse(StreamRefusal::shape,
                     fmt::format("lu {} has {} bytes in blocks of {} on node {}, and {} in blocks of {} on node {}",
                                 copy.unit.name, hello.size_bytes, hello.block_bytes, name(hello.from),
                                 copy.shape.size_bytes, block_bytes, name(self)));
  }
  // Before anything comes that may be acknowledged before it is carried out.
  if (takes_part() && !stopping && config.protocol != Protocol::c) {
    const bool noted = co_await agreement->note_in_hand(true);
    if (!noted) co_return refuse(StreamRefusal::unprepared, "the file of lives cannot be written");
  }
  if (!takes_part() || stopping || copy.held_apart) co_return refuse(StreamRefusal::unprepared, "not connected");
  agreement->fsm().hear_of(hello.view, clock.now());
  agreement->settle();
  update();
  if (!agreement->fsm().takes_writes_of(hello.from, hello.view.number)) {
    co_return refuse(StreamRefusal::outdated,
                     fmt::format("node {} is at view {}", name(self), format_view(agreement->fsm().view())));
  }
  const std::size_t index = index_of(copy);
  const PairUnit unit = copy.unit;
  admission.shard = unit.shard;
  if (hello.joins) {
    // Only for the stream that there is, between the same two lives.
    const Bonded& bonded = copy.bonded;
    const bool known = !bonded.dialled_here && bonded.id == hello.stream && bonded.peer_life == hello.incarnation;
    const auto lives = [stream = bonded.stream] {
      const auto alive = stream.lock();
      return alive != nullptr && !alive->ended();
    };
    const auto join = [stream = bonded.stream, link = hello.link](std::unique_ptr<replication::TcpStream> made,
                                                                  std::uint16_t) {
      if (const auto alive = stream.lock()) alive->add_link(link, std::move(made));
    };
    const bool there_is = co_await run_on(*unit.shard, lives);
    if (!known || !there_is || hello.link >= config.addresses_of(self).size()) {
      co_return refuse(StreamRefusal::unprepared, "there is no such stream to join");
    }
    admission.attach = join;
    co_return admission;
  }
  const std::uint64_t term = roles->orders(index).term;
  const std::uint64_t life = hello.incarnation;
  auto prepare = [&unit, term](std::function<void(bool)> answer) {
    unit.replica->prepare_to_follow(term, std::move(answer));
  };
  const bool prepared = co_await ask_on<bool>(*unit.shard, prepare);
  if (!prepared) co_return refuse(StreamRefusal::unprepared, "the copy is not ready yet");
  const auto bonded = bond(index, hello.stream, life, false);
  admission.attach = [unit, term, life, bonded, link = hello.link](std::unique_ptr<replication::TcpStream> made,
                                                                   std::uint16_t version) {
    if (version == 1) return unit.replica->attach(std::move(made), term, life);
    bonded->add_link(link, std::move(made));
    unit.replica->attach(bonded, term, life);
  };
  co_return admission;
}

}  // namespace mpath::target::cluster
