// The streams of a pair's copies: dialled by the node that follows, admitted by both.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/run_on.hpp"
#include "target/cluster/pair_impl.hpp"

namespace mpath::target::cluster {
namespace {

using boost::asio::awaitable;
using replication::Orders;
using std::chrono::milliseconds;

constexpr milliseconds dial_pause{100};  // after a stream could not be made

}  // namespace

awaitable<void> Pair::Impl::dial(std::size_t index) {
  Copy& copy = *copies[index];
  const Orders orders = *copy.given;
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
  std::vector<replication::StreamLink> links;
  const auto& own = config.addresses_of(self);
  const auto& theirs = config.addresses_of(peer);
  for (std::size_t link = 0; link < theirs.size(); ++link) {
    links.push_back({.local = own[link].address, .remote = theirs[link].address, .port = theirs[link].port});
  }
  auto dialed = co_await dialer->connect(links, hello, keys.all(), *copy.unit.shard);
  if (dialed) {
    copy.link.clear();
    std::shared_ptr<replication::PeerStream> stream = std::move(dialed->stream);
    const bool fits = dialed->welcome.incarnation == orders.peer_incarnation && !stopping;
    // A stream lives and ends on its shard.
    auto attach = [unit = copy.unit, made = std::move(stream), fits, orders]() mutable {
      if (fits) unit.replica->attach(std::move(made), orders.term, orders.peer_incarnation);
      made.reset();
    };
    copy.unit.shard->post(std::move(attach));
  } else if (copy.link != dialed.error().text) {
    copy.link = dialed.error().text;
    log.notice("lu {}: no stream to the peer: {}", copy.unit.name, copy.link);
  }
  static_cast<void>(co_await sleep_for(clock, dial_pause));
  copy.dialing = false;
  update();
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
  if (!takes_part() || stopping || copy.held_apart) co_return refuse(StreamRefusal::unprepared, "not connected");
  agreement->fsm().hear_of(hello.view, clock.now());
  agreement->settle();
  update();
  if (!agreement->fsm().takes_writes_of(hello.from, hello.view.number)) {
    co_return refuse(StreamRefusal::outdated,
                     fmt::format("node {} is at view {}", name(self), format_view(agreement->fsm().view())));
  }
  const std::size_t index = index_of(copy);
  const std::uint64_t term = roles->orders(index).term;
  const std::uint64_t life = hello.incarnation;
  const PairUnit unit = copy.unit;
  auto prepare = [&unit, term](std::function<void(bool)> answer) {
    unit.replica->prepare_to_follow(term, std::move(answer));
  };
  const bool prepared = co_await ask_on<bool>(*unit.shard, prepare);
  if (!prepared) co_return refuse(StreamRefusal::unprepared, "the copy is not ready yet");
  admission.shard = unit.shard;
  admission.attach = [unit, term, life](std::unique_ptr<replication::PeerStream> stream) {
    unit.replica->attach(std::move(stream), term, life);
  };
  co_return admission;
}

}  // namespace mpath::target::cluster
