#include "target/cluster/pair.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <map>
#include <utility>

#include "base/event.hpp"
#include "base/run_on.hpp"
#include "base/sleep.hpp"
#include "base/task_group.hpp"
#include "ifaces/address_reach.hpp"
#include "target/cluster/agreement.hpp"
#include "target/cluster/alarms.hpp"
#include "target/cluster/chronicle.hpp"
#include "target/cluster/cluster_key.hpp"
#include "target/cluster/decision_log.hpp"
#include "target/cluster/failback.hpp"
#include "target/replication/roles.hpp"
#include "target/replication/stream_dialer.hpp"
#include "target/replication/stream_listener.hpp"

namespace mpath::target::cluster {
namespace {

using boost::asio::awaitable;
using replication::CopyRole;
using replication::Orders;
using replication::Replica;
using replication::Report;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds dial_pause{100};     // after a stream could not be made
constexpr milliseconds poll_interval{250};  // counters of the copies
// Between two views a leader has no word for a moment: what initiators see does not change for that. It is shorter than
// what is left until another node may serve, which waits for the deadtime.
constexpr milliseconds lapse_max{150};
// After it, for initiators to wait for a node that may not answer, before they are sent to look for another.
constexpr milliseconds unanswered_max{250};
constexpr milliseconds address_claim_max{500};  // for the other node to announce the virtual IP, before it leaves here
constexpr seconds hold_max{2};                  // for the commands under way, at a switchover
constexpr seconds address_max{5};               // for the virtual IP to leave, at a stop
constexpr seconds hand_over_max{2};             // for the other node to be decided
constexpr double rate_smoothing = 0.3;

std::string view_text(const View& view) {
  return fmt::format("view {}", format_view(view));
}

}  // namespace

struct Pair::Impl : std::enable_shared_from_this<Pair::Impl> {
  Impl(boost::asio::io_context& loop, Clock& time, boost::asio::thread_pool& threads, ClusterConfig given,
       std::filesystem::path place, VirtualService::Doors given_doors, std::vector<std::string> service,
       const Log& about)
      : control(loop),
        clock(time),
        pool(threads),
        config(std::move(given)),
        directory(std::move(place)),
        log(about.about("cluster " + config.name)),
        self(config.self),
        peer(peer_of(self)),
        decisions(directory / "decisions"),
        address(loop.get_executor(), time, config.virtual_ips, std::move(given_doors), log),
        reach(loop, time,
              {.addresses = std::move(service),
               .on_change =
                   [this](bool reachable) {
                     if (!reachable) leave_service();
                   }}),
        tasks(loop.get_executor()) {}

  // One replicated unit.
  struct Copy {
    PairUnit unit;
    replication::DirtyMap::Shape shape;
    std::optional<Orders> given;
    bool dialing = false;
    bool held_apart = false;  // `disconnect` was said
    std::uint64_t took_over_term = 0, taking_over_term = 0;
    std::uint64_t stood_by_term = 0;
    std::optional<ClusterAccess> access;
    replication::ReplicaCounters counters;
    bool polling = false;
    double rate = 0;
    std::uint64_t filled_before = 0;
    TimePoint polled_at;
    std::string link;  // trouble of the last dialling
  };

  boost::asio::io_context& control;
  Clock& clock;
  boost::asio::thread_pool& pool;
  ClusterConfig config;
  std::filesystem::path directory;
  Log log;
  Member self, peer;
  Serving serving;
  ClusterKeys keys;
  DecisionLog decisions;
  VirtualService address;
  AddressReach reach;
  TaskGroup tasks;
  std::unique_ptr<Agreement> agreement;
  std::unique_ptr<replication::Roles> roles;
  std::unique_ptr<replication::StreamListener> listener;
  std::unique_ptr<replication::StreamDialer> dialer;
  std::vector<std::unique_ptr<Copy>> copies;
  std::unique_ptr<Alarm> poll;
  Chronicle chronicle{config};
  Failback failback{config};
  bool serves = false;
  TimePoint lapsed_at = never;
  TimePoint verify_at = never;
  std::unique_ptr<Alarm> lapse;
  std::unique_ptr<Alarm> unanswered;
  std::function<awaitable<std::size_t>(const char*)> drop_initiators;
  bool address_wanted = false, address_moving = false;
  bool handing_over = false;
  bool updating = false;
  bool leaving = false;   // nothing is served any more
  bool stopping = false;  // ... and nothing else is done

  [[nodiscard]] bool takes_part() const { return agreement != nullptr && agreement->has_fsm() && roles != nullptr; }

  // Runs on the copy's shard; the bundle lives until then.
  template <typename Function>
  void there(Copy& copy, Function function) {
    auto run = [unit = copy.unit, function = std::move(function)] { function(unit); };
    copy.unit.shard->post(std::move(run));
  }
  // Runs here, if we are still there.
  template <typename Function>
  auto back(Function function) {
    return [weak = weak_from_this(), &loop = control, function = std::move(function)](auto... values) {
      auto run = [weak, function, values...] {
        if (const auto alive = weak.lock()) function(*alive, values...);
      };
      boost::asio::post(loop, std::move(run));
    };
  }

  // ---- start -------------------------------------------------------------------------------------------------------

  void take_units(std::vector<PairUnit> units) {
    for (PairUnit& unit : units) {
      auto copy = std::make_unique<Copy>();
      copy->unit = std::move(unit);
      copies.push_back(std::move(copy));
    }
    for (std::size_t index = 0; index < copies.size(); ++index) {
      Copy& copy = *copies[index];
      if (copy.unit.replica == nullptr) continue;
      copy.shape = copy.unit.replica->map().shape();
      const auto reported = back([index](Impl& owner, const Report& report) { owner.on_report(index, report); });
      there(copy, [reported, most = config.resync_bytes_per_second_max,
                   least = config.resync_bytes_per_second_min](const PairUnit& unit) {
        unit.replica->on_report = [reported](const Report& report) { reported(report); };
        unit.replica->on_state = [logical = unit.unit.get()](const LuState& state) { logical->adopt_state(state); };
        unit.replica->set_fill_rate(most, least);
        unit.unit->stand_by();
      });
      show_access(copy);
    }
  }

  void begin() {
    if (roles == nullptr && agreement->has_fsm()) {
      roles = std::make_unique<replication::Roles>(agreement->fsm(), self, copies.size(), config.deadtime);
      for (std::size_t index = 0; index < copies.size(); ++index) {
        if (copies[index]->unit.replica != nullptr) continue;
        Report lost;
        lost.medium_failed = true;
        lost.trouble = copies[index]->unit.trouble;
        roles->on_report(index, lost, clock.now());
      }
      replication::StreamListenerOptions options;
      options.self = self;
      options.cluster = cluster_id(config.name);
      options.incarnation = agreement->incarnation();
      options.silence_max = std::max<milliseconds>(config.deadtime, milliseconds(1000));
      listener = std::make_unique<replication::StreamListener>(
          control.get_executor(), clock, log, options, keys.all(),
          [this](const Hello& hello) -> awaitable<replication::Admission> { return admit(hello); });
      std::vector<replication::StreamAddress> addresses;
      for (const Portal& portal : config.addresses_of(self)) {
        addresses.push_back({.address = portal.address, .port = portal.port});
      }
      listener->listen(std::move(addresses));
      replication::StreamDialOptions dialing;
      dialing.silence_max = options.silence_max;
      dialer = std::make_unique<replication::StreamDialer>(control.get_executor(), clock, dialing);
    }
    update();
  }

  // What became different, for the journal and the decision log.
  void tell() {
    const ClusterStatus now = status();
    for (const Told& told : chronicle.look(now)) {
      switch (told.weight) {
        case Told::Weight::notice:
          log.notice("{}", told.what);
          break;
        case Told::Weight::warning:
          log.warning("{}", told.what);
          break;
        case Told::Weight::error:
          log.error("{}", told.what);
          break;
      }
      decisions.add(now.view, told.what);
    }
    if (!handing_over && failback.due(now, clock.now())) {
      tasks.spawn([this]() -> awaitable<void> {
        const auto done = co_await hand_over("fail-back to the preferred node");
        if (!done) log.warning("fail-back: {}", done.error());
      });
    }
  }

  // ---- what follows from the agreement -----------------------------------------------------------------------------

  void on_report(std::size_t index, const Report& report) {
    if (!takes_part() || stopping) return;
    roles->on_report(index, report, clock.now());
    agreement->settle();
    update();
  }

  // After each event: orders, lease, access states, virtual IP, streams.
  void update() {
    if (!takes_part() || stopping || std::exchange(updating, true)) return;
    roles->update(clock.now());
    agreement->settle();
    // The lease goes before anything else does, and comes after everything else.
    bool ready = !leaving && roles->leads() && roles->ready();
    for (const auto& copy : copies) ready = ready && copy->took_over_term == roles->orders(0).term;
    const TimePoint until = ready ? roles->serving_until(clock.now()) : TimePoint::min();
    serving.set_until(until);
    const bool served = serves;
    note_service(clock.now() < until);
    if (serves || leaving || !roles->leads()) {
      unanswered->cancel();
    } else if (served) {
      unanswered->set(clock.now() + unanswered_max);
    }
    for (std::size_t index = 0; index < copies.size(); ++index) follow(index);
    move_address();
    tell();
    updating = false;
  }

  // `serves` is what is shown: a lapse between two views is not.
  void note_service(bool may_answer) {
    if (may_answer || !serves || !roles->leads()) {
      serves = may_answer;
      lapsed_at = never;
      return;
    }
    const TimePoint now = clock.now();
    if (lapsed_at == never) {
      lapsed_at = now;
      lapse->set(now + lapse_max);
    }
    serves = now < lapsed_at + lapse_max;
  }

  // The lease has ended, and the agreement cannot say who leads: what is under way can neither be answered nor ended
  // here, and would hold its initiators until their longest timeout. Those with another path find the node that leads.
  void send_away() {
    if (!takes_part() || serves || leaving || !roles->leads() || !drop_initiators) return;
    tasks.spawn([this]() -> awaitable<void> {
      const std::size_t count = co_await drop_initiators("this node may not answer");
      log.warning("initiators were sent away connections={}", count);
    });
  }

  [[nodiscard]] std::size_t index_of(const Copy& copy) const {
    return static_cast<std::size_t>(std::ranges::find(copies, &copy, [](const auto& each) { return each.get(); }) -
                                    copies.begin());
  }

  void follow(std::size_t index) {
    Copy& copy = *copies[index];
    if (copy.unit.replica == nullptr) return;
    Orders orders = roles->orders(index);
    if (copy.held_apart) orders.peer_incarnation = 0;
    if (copy.given != orders) {
      copy.given = orders;
      there(copy, [orders](const PairUnit& unit) { unit.replica->set_orders(orders); });
    }
    const Report& report = roles->report(index);
    const bool in_place = report.term == orders.term && report.ready;
    if (orders.role != CopyRole::lead && copy.stood_by_term != orders.term) {
      copy.stood_by_term = orders.term;
      there(copy, [](const PairUnit& unit) { unit.unit->stand_by(); });
    }
    if (orders.role == CopyRole::lead && in_place && copy.took_over_term != orders.term &&
        copy.taking_over_term != orders.term && clock.now() < roles->serving_until(clock.now())) {
      copy.taking_over_term = orders.term;
      const auto done = back([index, term = orders.term](Impl& owner, error_code error) {
        Copy& taken = *owner.copies[index];
        if (!error) taken.took_over_term = term;
        if (error && taken.taking_over_term == term) taken.taking_over_term = 0;
        owner.update();
      });
      there(copy, [done](const PairUnit& unit) { unit.unit->take_over([done](error_code error) { done(error); }); });
    }
    show_access(copy);
    const bool wants = in_place && report.wants_stream && orders.peer_incarnation != 0;
    if (wants && !copy.dialing) {
      copy.dialing = true;
      tasks.spawn([this, index] { return dial(index); });
    }
  }

  // What initiators are told of the port groups of both nodes.
  void show_access(Copy& copy) {
    using enum scsi::AccessState;
    scsi::AccessState own = unavailable, others = unavailable;
    if (takes_part() && !stopping) {
      const View& view = agreement->fsm().view();
      const auto standby_of = [&view](Member member) { return view.in_sync.has(member) ? standby : unavailable; };
      if (view.number > 0 && view.primary == self) {
        own = serves ? optimized : transitioning;
        others = standby_of(peer);
      } else if (view.number > 0) {
        own = agreement->fsm().suspect() ? unavailable : standby_of(self);
        others = optimized;
      }
    }
    ClusterAccess states;
    for (const std::uint16_t group : copy.unit.own_groups) states[group] = own;
    for (const std::uint16_t group : copy.unit.peer_groups) states[group] = others;
    if (copy.unit.unit == nullptr || copy.access == states) return;
    copy.access = states;
    there(copy, [states](const PairUnit& unit) { unit.unit->set_cluster_access(states); });
  }

  void move_address() {
    address_wanted = serves && !stopping;
    if (config.virtual_ips.empty() || address_moving || address.here() == address_wanted) return;
    address_moving = true;
    tasks.spawn([this] { return move(); });
  }
  awaitable<void> move() {
    const bool wanted = address_wanted;
    if (wanted) {
      co_await address.serve();
    } else {
      // At a stop, only if there is a successor.
      const bool successor = takes_part() && agreement->fsm().view().primary == peer;
      co_await address.rest(leaving && !successor ? Duration() : Duration(address_claim_max));
    }
    address_moving = false;
    // The wish may have changed meanwhile.
    if (wanted != address_wanted) move_address();
  }

  // ---- streams -----------------------------------------------------------------------------------------------------

  awaitable<void> dial(std::size_t index) {
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

  awaitable<replication::Admission> admit(const Hello& hello) {
    replication::Admission admission;
    const auto refuse = [&admission](StreamRefusal why, std::string text) {
      admission.ready = {.refusal = why, .text = std::move(text)};
      return admission;
    };
    const auto place = std::ranges::find_if(copies, [&hello](const auto& copy) {
      return std::ranges::equal(std::as_bytes(std::span(copy->unit.uuid)), hello.unit);
    });
    if (place == copies.end() || (*place)->unit.replica == nullptr) {
      co_return refuse(StreamRefusal::unit,
                       fmt::format("node {} has no lu {} to copy to", name(self), hello.unit_name));
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
                       fmt::format("node {} is at {}", name(self), view_text(agreement->fsm().view())));
    }
    const std::size_t index = index_of(copy);
    const std::uint64_t term = roles->orders(index).term;
    const std::uint64_t life = hello.incarnation;
    const PairUnit unit = copy.unit;
    Event answered(control.get_executor());
    bool prepared = false;
    auto prepare = [&unit, &answered, &prepared, term, this] {
      unit.replica->prepare_to_follow(term, [this, &answered, &prepared](bool ok) {
        boost::asio::post(control, [&answered, &prepared, ok] {
          prepared = ok;
          answered.set();
        });
      });
    };
    co_await run_on(*unit.shard, prepare);
    co_await answered.wait_uncancelled();
    if (!prepared) co_return refuse(StreamRefusal::unprepared, "the copy is not ready yet");
    admission.shard = unit.shard;
    admission.attach = [unit, term, life](std::unique_ptr<replication::PeerStream> stream) {
      unit.replica->attach(std::move(stream), term, life);
    };
    co_return admission;
  }

  // ---- switchover --------------------------------------------------------------------------------------------------

  awaitable<Done> hand_over(std::string why) {
    if (!takes_part()) co_return std::unexpected(std::string("this node has not joined the pair"));
    if (handing_over) co_return std::unexpected(std::string("a switchover is under way"));
    const View before = agreement->fsm().view();
    if (before.primary != self)
      co_return std::unexpected(fmt::format("node {} serves: say it there", name(before.primary)));
    if (!before.in_sync.has(peer)) co_return std::unexpected(fmt::format("node {} is not in sync", name(peer)));
    handing_over = true;
    const auto held = std::make_shared<std::size_t>(0);
    for (const auto& copy : copies) {
      const auto answer = back([held](Impl&) { ++*held; });
      there(*copy, [answer](const PairUnit& unit) { unit.unit->hold([answer] { answer(); }); });
    }
    auto all_held = [this, held] { return *held == copies.size(); };
    const bool late = co_await until(hold_max, all_held);
    bool begun = false;
    if (!late && takes_part() && agreement->fsm().view() == before) {
      begun = agreement->fsm().hand_over(clock.now());
      if (begun) chronicle.because(std::move(why));
      agreement->settle();
      update();
      auto decided = [this, &before] { return !takes_part() || agreement->fsm().view().number > before.number; };
      static_cast<void>(co_await until(hand_over_max, decided));
    }
    // They are judged anew: where another node leads, initiators are sent there.
    for (const auto& copy : copies) {
      there(*copy, [](const PairUnit& unit) { unit.unit->release(); });
    }
    handing_over = false;
    if (agreement->fsm().view().primary == peer) co_return Done();
    if (late) {
      co_return std::unexpected(
          fmt::format("commands under way did not end in time: node {} keeps serving", name(self)));
    }
    co_return std::unexpected(fmt::format("node {} did not take over", name(peer)));
  }
  // The other node may be reached where this one is not. Said once for each loss: two nodes that nobody reaches do not
  // hand the role to and fro.
  void leave_service() {
    log.error("no cable leads to the portals of this node");
    if (!serves || handing_over || agreement->fsm().view().in_sync.size() < 2) return;
    tasks.spawn([this]() -> awaitable<void> {
      const auto done = co_await hand_over("no cable leads to the portals of this node");
      if (!done) log.error("nobody can reach this node: {}", done.error());
    });
  }

  // Whether it was not so in time.
  template <typename Condition>
  awaitable<bool> until(Duration most, Condition condition) {
    const TimePoint end = clock.now() + most;
    while (!condition()) {
      if (clock.now() >= end) co_return true;
      const bool cancelled = co_await sleep_for(clock, milliseconds(2));
      if (cancelled) co_return true;
    }
    co_return false;
  }

  [[nodiscard]] ClusterStatus status();

  void verify(Copy& copy, bool repair) {
    if (copy.unit.replica == nullptr) return;
    const Log about = log.about("lu " + copy.unit.name);
    const auto ended = [about, repair](const replication::VerifyResult& result) {
      if (!result.complete) return about.warning("verify: cut short");
      for (const replication::Difference& each : result.differences) {
        about.warning("verify: differs offset={} length={}{}", each.offset, each.length,
                      repair ? ", copied from here" : "");
      }
      about.notice("verify: ended differing_bytes={}", result.differing_bytes);
    };
    there(copy, [repair, ended](const PairUnit& unit) { unit.replica->verify(repair, ended); });
  }

  // verify_interval: counted from when this node began to serve both.
  void verify_now_and_then() {
    const bool both = serves && agreement->fsm().view().in_sync.size() == 2;
    if (!both || config.verify_interval.count() == 0) {
      verify_at = never;
    } else if (verify_at == never) {
      verify_at = clock.now() + config.verify_interval;
    } else if (clock.now() >= verify_at) {
      verify_at = clock.now() + config.verify_interval;
      for (const auto& copy : copies) verify(*copy, false);
    }
  }

  // ---- counters ----------------------------------------------------------------------------------------------------

  void poll_copies() {
    for (std::size_t index = 0; index < copies.size(); ++index) {
      Copy& copy = *copies[index];
      if (copy.unit.replica == nullptr || std::exchange(copy.polling, true)) continue;
      const auto told = back([index](Impl& owner, const replication::ReplicaCounters& counters) {
        Copy& polled = *owner.copies[index];
        polled.polling = false;
        const TimePoint now = owner.clock.now();
        const std::chrono::duration<double> passed = now - polled.polled_at;
        const std::uint64_t filled = counters.fill_done_bytes;
        if (polled.polled_at != TimePoint{} && passed.count() > 0 && filled >= polled.filled_before) {
          const double rate = static_cast<double>(filled - polled.filled_before) / passed.count();
          polled.rate = counters.filling ? polled.rate + rate_smoothing * (rate - polled.rate) : 0;
        }
        polled.filled_before = filled;
        polled.polled_at = now;
        polled.counters = counters;
      });
      there(copy, [told](const PairUnit& unit) { told(unit.replica->counters()); });
    }
    if (takes_part() && !stopping) {
      update();
      verify_now_and_then();
    }
    poll->set(clock.now() + poll_interval);
  }

  [[nodiscard]] std::expected<std::vector<Copy*>, std::string> find(const UnitNames& names) const {
    std::vector<Copy*> found;
    for (const auto& copy : copies) {
      const bool meant = names.empty() || std::ranges::find(names, copy->unit.name) != names.end();
      if (meant) found.push_back(copy.get());
    }
    for (const std::string& wanted : names) {
      const bool known = std::ranges::any_of(copies, [&](const auto& copy) { return copy->unit.name == wanted; });
      if (!known) return std::unexpected(fmt::format("there is no replicated lu {}", wanted));
    }
    return found;
  }
};

Pair::Pair(boost::asio::io_context& control, Clock& clock, boost::asio::thread_pool& pool, ClusterConfig config,
           std::filesystem::path directory, VirtualService::Doors doors, std::vector<std::string> service_addresses,
           const Log& log)
    : impl_(std::make_shared<Impl>(control, clock, pool, std::move(config), std::move(directory), std::move(doors),
                                   std::move(service_addresses), log)) {}

Pair::~Pair() = default;

const Serving& Pair::serving() const {
  return impl_->serving;
}

void Pair::set_drop_initiators(std::function<awaitable<std::size_t>(const char*)> drop) {
  impl_->drop_initiators = std::move(drop);
}

bool Pair::keeps_address() const {
  const TimePoint now = impl_->clock.now();
  const bool lapse = impl_->lapsed_at != never && now < impl_->lapsed_at + lapse_max;
  return impl_->serving.may_answer(now) || lapse;
}

const ClusterConfig& Pair::config() const {
  return impl_->config;
}

std::expected<void, std::string> Pair::prepare() {
  auto keys = read_cluster_keys(impl_->config.key_file);
  if (!keys) return std::unexpected(keys.error());
  impl_->keys = *keys;
  impl_->address.clear();
  return {};
}

awaitable<std::expected<void, std::string>> Pair::start(std::vector<PairUnit> units) {
  Impl& impl = *impl_;
  AgreementOptions options;
  options.node = node_options(impl.config);
  options.cluster = impl.config.name;
  options.directory = impl.directory;
  options.links = make_links(impl.self, impl.config.addresses_of(Member::a), impl.config.addresses_of(Member::b),
                             impl.config.witness);
  options.keys = impl.keys;
  options.fence.command = impl.config.fence;
  options.fence.timeout = impl.config.fence_timeout;
  impl.agreement = std::make_unique<Agreement>(impl.control, impl.clock, impl.pool, std::move(options), impl.log);
  impl.agreement->on_change = [this] { impl_->update(); };
  impl.lapse = impl.clock.make_alarm([this] { impl_->update(); });
  impl.unanswered = impl.clock.make_alarm([this] { impl_->send_away(); });
  impl.take_units(std::move(units));
  auto started = co_await impl.agreement->start();
  if (!started) co_return std::unexpected(started.error());
  if (const error_code error = impl.reach.start()) impl.log.warning("cables are not watched: {}", error.message());
  impl.poll = impl.clock.make_alarm([this] { impl_->poll_copies(); });
  impl.poll->set(impl.clock.now());
  if (!impl.agreement->found()) {
    impl.log.warning(
        "this node has not joined the pair: `mptargetctl cluster init` where the data is, `cluster join` on the other");
  }
  impl.begin();
  co_return std::expected<void, std::string>();
}

awaitable<void> Pair::stop() {
  Impl& impl = *impl_;
  if (impl.agreement == nullptr) co_return;
  if (impl.takes_part() && impl.serves && impl.agreement->fsm().view().in_sync.has(impl.peer)) {
    const auto done = co_await impl.hand_over("this node shuts down");
    if (!done) impl.log.warning("the other node does not take over: {}", done.error());
  }
  impl.leaving = true;
  impl.serving.set_until(TimePoint::min());
  impl.serves = false;
  impl.move_address();
  auto moved = [&impl] { return !impl.address_moving; };
  static_cast<void>(co_await impl.until(address_max, moved));
  impl.stopping = true;
  if (impl.listener != nullptr) co_await impl.listener->close();
  co_await impl.tasks.close();
  co_await impl.address.rest();
}

awaitable<void> Pair::finish(bool in_order) {
  Impl& impl = *impl_;
  impl.reach.stop();
  if (impl.poll != nullptr) impl.poll->cancel();
  if (impl.lapse != nullptr) impl.lapse->cancel();
  if (impl.unanswered != nullptr) impl.unanswered->cancel();
  if (impl.agreement == nullptr) co_return;
  impl.agreement->on_change = nullptr;
  co_await impl.agreement->stop(in_order);
  impl.roles.reset();
}

// ---- administration ------------------------------------------------------------------------------------------------

ClusterStatus Pair::status() {
  return impl_->status();
}

ClusterStatus Pair::Impl::status() {
  Impl& impl = *this;
  ClusterStatus status;
  status.name = impl.config.name;
  status.self = impl.self;
  status.witness_configured = !impl.config.witness.empty();
  status.virtual_address = impl.address.text();
  status.virtual_address_here = impl.address.here();
  status.serving = impl.serves;
  if (impl.agreement == nullptr) return status;
  status.joined = impl.agreement->found();
  status.links = impl.agreement->links();
  for (const LinkStatus& link : status.links) {
    if (link.to == Member::witness) status.witness_heard = status.witness_heard || link.heard;
    if (link.to == impl.peer) status.peer_heard = status.peer_heard || link.heard;
  }
  status.alarms = impl.agreement->alarms();
  std::ranges::move(impl.address.alarms(), std::back_inserter(status.alarms));
  if (!impl.takes_part()) {
    status.waits_for = status.joined ? impl.agreement->trouble() : "`cluster init` or `cluster join`";
  }
  const TimePoint now = impl.clock.now();
  View view;
  if (impl.takes_part()) {
    const auto& fsm = impl.agreement->fsm();
    view = status.view = fsm.view();
    status.waits_for = fsm.waits_for(now);
    status.suspect = fsm.suspect();
    const TimePoint until = fsm.may_serve_until(now);
    if (until > now && until != never) status.lease_left = std::chrono::duration_cast<milliseconds>(until - now);
  }
  for (std::size_t index = 0; index < impl.copies.size(); ++index) {
    const Impl::Copy& copy = *impl.copies[index];
    CopyStatus shown;
    shown.unit = copy.unit.name;
    shown.trouble = copy.unit.trouble;
    const bool failed = copy.unit.replica == nullptr || (impl.takes_part() && impl.roles->report(index).medium_failed);
    const auto disk_of = [&](Member member) -> std::string {
      if (member == impl.self && failed) return "Failed";
      if (!impl.takes_part() || view.number == 0) return member == impl.self ? "Inconsistent" : "DUnknown";
      if (view.in_sync.has(member)) return "UpToDate";
      if (member == impl.peer && !copy.counters.stream) return "DUnknown";
      return copy.counters.stream ? "Inconsistent" : "Outdated";
    };
    shown.local_disk = disk_of(impl.self);
    shown.peer_disk = disk_of(impl.peer);
    shown.connection = copy.held_apart        ? "StandAlone"
                       : copy.counters.stream ? "Connected"
                       : impl.takes_part()    ? "Connecting"
                                              : "Disconnected";
    if (impl.takes_part() && shown.trouble.empty()) shown.trouble = impl.roles->report(index).trouble;
    if (shown.trouble.empty() && !copy.counters.stream) shown.trouble = copy.link;
    const auto& counters = copy.counters;
    shown.size_bytes = copy.shape.size_bytes;
    shown.dirty_bytes = view.in_sync.size() == 2 ? 0 : counters.marked_bytes;
    shown.to_fill_bytes = counters.to_fill_bytes;
    shown.fill_total_bytes = counters.fill_total_bytes;
    shown.fill_bytes_per_second = copy.rate;
    if (counters.filling && copy.rate >= 1) {
      shown.fill_eta = seconds(static_cast<std::int64_t>(static_cast<double>(counters.to_fill_bytes) / copy.rate));
    }
    shown.sent_bytes = counters.sent_bytes;
    shown.received_bytes = counters.received_bytes;
    shown.read_bytes = counters.read_bytes;
    shown.written_bytes = counters.written_bytes;
    shown.pending = counters.pending;
    status.copies.push_back(std::move(shown));
  }
  std::ranges::move(alarms_of(status, impl.config), std::back_inserter(status.alarms));
  return status;
}

std::vector<Decision> Pair::decisions(std::size_t most) {
  return impl_->decisions.recent(most);
}

awaitable<Pair::Done> Pair::init(bool force) {
  Impl& impl = *impl_;
  VoteRecord first;
  first.decided = {.number = 1, .primary = impl.self, .in_sync = {impl.self}};
  auto done = co_await impl.agreement->init(first, force);
  if (!done) co_return done;
  for (const auto& copy : impl.copies) {
    if (copy->unit.replica != nullptr) impl.there(*copy, [](const PairUnit& unit) { unit.replica->mark_all(); });
  }
  impl.begin();
  co_return Done();
}

awaitable<Pair::Done> Pair::join() {
  Impl& impl = *impl_;
  const VoteRecord empty;
  auto done = co_await impl.agreement->init(empty);
  if (!done) co_return done;
  for (const auto& copy : impl.copies) {
    if (copy->unit.replica != nullptr) impl.there(*copy, [](const PairUnit& unit) { unit.replica->mark_all(); });
  }
  impl.begin();
  co_return Done();
}

awaitable<Pair::Done> Pair::switchover() {
  co_return co_await impl_->hand_over("switchover by command");
}

awaitable<Pair::Done> Pair::maintenance(bool) {
  co_return std::unexpected(std::string("maintenance is not built yet: stop one node instead"));
}

awaitable<Pair::Done> Pair::connect(UnitNames units) {
  const auto found = impl_->find(units);
  if (!found) co_return std::unexpected(found.error());
  for (Impl::Copy* copy : *found) copy->held_apart = false;
  impl_->update();
  co_return Done();
}

awaitable<Pair::Done> Pair::disconnect(UnitNames units) {
  const auto found = impl_->find(units);
  if (!found) co_return std::unexpected(found.error());
  for (Impl::Copy* copy : *found) {
    copy->held_apart = true;
    if (copy->unit.replica != nullptr) impl_->there(*copy, [](const PairUnit& unit) { unit.replica->reconnect(); });
  }
  impl_->update();
  co_return Done();
}

awaitable<Pair::Done> Pair::invalidate(UnitNames units) {
  const auto found = impl_->find(units);
  if (!found) co_return std::unexpected(found.error());
  if (!impl_->takes_part()) co_return std::unexpected(std::string("this node has not joined the pair"));
  const View& view = impl_->agreement->fsm().view();
  if (view.primary == impl_->self || view.in_sync.only(impl_->self))
    co_return std::unexpected(std::string("nobody else has what this node has: switch over first"));
  for (Impl::Copy* copy : *found) {
    if (copy->unit.replica == nullptr) continue;
    impl_->there(*copy, [](const PairUnit& unit) {
      unit.replica->mark_all();
      unit.replica->reconnect();
    });
  }
  impl_->agreement->fsm().distrust(impl_->clock.now());
  impl_->agreement->settle();
  impl_->update();
  co_return Done();
}

awaitable<Pair::Done> Pair::verify(UnitNames units, bool repair) {
  const auto found = impl_->find(units);
  if (!found) co_return std::unexpected(found.error());
  if (!impl_->serves) co_return std::unexpected(std::string("the node that serves compares: say it there"));
  for (Impl::Copy* copy : *found) impl_->verify(*copy, repair);
  co_return Done();
}

awaitable<Pair::Done> Pair::resync(UnitNames units) {
  const auto found = impl_->find(units);
  if (!found) co_return std::unexpected(found.error());
  for (Impl::Copy* copy : *found) {
    if (copy->unit.replica != nullptr) impl_->there(*copy, [](const PairUnit& unit) { unit.replica->reconnect(); });
  }
  co_return Done();
}

}  // namespace mpath::target::cluster
