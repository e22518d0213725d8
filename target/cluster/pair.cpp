#include "target/cluster/pair.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/offload.hpp"
#include "target/cluster/pair_impl.hpp"

namespace mpath::target::cluster {
namespace {

using boost::asio::awaitable;
using replication::CopyRole;
using replication::Orders;
using replication::Report;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Between two views a leader has no word for a moment: what initiators see does not change for that. It is shorter than
// what is left until another node may serve, which waits for the deadtime.
constexpr milliseconds lapse_max{150};
// After it, for initiators to wait for a node that may not answer, before they are sent to look for another.
constexpr milliseconds unanswered_max{250};
constexpr milliseconds address_claim_max{500};  // for the other node to announce the virtual IP, before it leaves here
constexpr seconds put_down_pause{1};            // between two tries to note it
constexpr seconds address_max{5};               // for the virtual IP to leave, at a stop

}  // namespace

void Pair::Impl::take_units(std::vector<PairUnit> units) {
  for (PairUnit& unit : units) {
    auto copy = std::make_unique<Copy>();
    copy->unit = std::move(unit);
    copies.push_back(std::move(copy));
  }
  for (std::size_t index = 0; index < copies.size(); ++index) {
    Copy& copy = *copies[index];
    if (!copy.open()) continue;
    copy.shape = copy.unit.replica->map().shape();
    const auto reported = back([index](Impl& owner, const Report& report) { owner.on_report(index, report); });
    there(copy, [reported, most = config.resync_bytes_per_second_max, least = config.resync_bytes_per_second_min,
                 disk_timeout = config.disk_timeout, protocol = config.protocol,
                 window = config.send_window_bytes](const PairUnit& unit) {
      unit.replica->on_report = [reported](const Report& report) { reported(report); };
      unit.replica->on_state = [logical = unit.unit.get()](const LuState& state) { logical->adopt_state(state); };
      unit.replica->on_loss = [logical = unit.unit.get()] { logical->cache_lost(); };
      unit.replica->set_fill_rate(most, least);
      unit.replica->set_disk_timeout(disk_timeout);
      unit.replica->set_protocol(protocol, window);
      unit.unit->stand_by();
    });
    show_access(copy);
  }
}

void Pair::Impl::begin() {
  if (roles == nullptr && agreement->has_fsm()) {
    roles = std::make_unique<replication::Roles>(agreement->fsm(), self, copies.size(), config.deadtime);
    for (std::size_t index = 0; index < copies.size(); ++index) {
      if (copies[index]->open()) continue;
      Report lost;
      lost.medium_failed = true;
      lost.trouble = copies[index]->unit.trouble;
      roles->on_report(index, lost, clock.now());
    }
    replication::StreamListenerOptions options;
    options.self = self;
    options.cluster = cluster_id(config.name);
    options.cluster_name = config.name;
    options.incarnation = agreement->incarnation();
    options.auth = config.stream_auth;
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
    dialing.cluster_name = config.name;
    dialer = std::make_unique<replication::StreamDialer>(control.get_executor(), clock, dialing);
  }
  update();
}

void Pair::Impl::tell() {
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
    hand_over_later("fail-back to the preferred node");
  }
}

void Pair::Impl::on_report(std::size_t index, const Report& report) {
  if (!takes_part() || stopping) return;
  roles->on_report(index, report, clock.now());
  agreement->settle();
  update();
}

void Pair::Impl::update() {
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
  if (ready && agreement->in_hand() && !putting_down) {
    putting_down = true;
    tasks.spawn([this] { return put_down(); });
  }
  move_address();
  heed_peer();
  leave_hung_medium();
  tell();
  updating = false;
}

// What was taken from the other node is on the medium's side, or this node would not lead.
awaitable<void> Pair::Impl::put_down() {
  if (roles->leads() && roles->ready()) static_cast<void>(co_await agreement->note_in_hand(false));
  static_cast<void>(co_await sleep_for(clock, put_down_pause));
  putting_down = false;
}

void Pair::Impl::note_service(bool may_answer) {
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

std::size_t Pair::Impl::index_of(const Copy& copy) const {
  return static_cast<std::size_t>(std::ranges::find(copies, &copy, [](const auto& each) { return each.get(); }) -
                                  copies.begin());
}

void Pair::Impl::follow(std::size_t index) {
  Copy& copy = *copies[index];
  if (!copy.open()) return;
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
  if (orders.role == CopyRole::lead && in_place) join_links(index);
}

void Pair::Impl::show_access(Copy& copy) {
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
  if (copy.access == states) return;
  copy.access = states;
  there(copy, [states](const PairUnit& unit) { unit.unit->set_cluster_access(states); });
}

void Pair::Impl::move_address() {
  address_wanted = serves && !stopping;
  if (config.virtual_ips.empty() || address_moving || address.here() == address_wanted) return;
  address_moving = true;
  tasks.spawn([this] { return move(); });
}

awaitable<void> Pair::Impl::move() {
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

awaitable<std::expected<bool, std::string>> Pair::read_keys_again() {
  Impl& impl = *impl_;
  const auto work = [&impl] { return read_cluster_keys(impl.config.key_file); };
  const auto keys = co_await offload(impl.pool, work);
  if (!keys) co_return std::unexpected(keys.error());
  if (*keys == impl.keys) co_return false;
  impl.keys = *keys;
  if (impl.agreement != nullptr) impl.agreement->set_keys(impl.keys);
  if (impl.listener != nullptr) impl.listener->set_keys(impl.keys.all());
  impl.log.notice("the keys were read again");
  co_return true;
}

awaitable<std::expected<void, std::string>> Pair::start(std::vector<PairUnit> units) {
  Impl& impl = *impl_;
  AgreementOptions options;
  options.node = node_options(impl.config);
  options.cluster = impl.config.name;
  options.directory = impl.directory;
  options.links = make_links(impl.self, impl.config.addresses_of(Member::a), impl.config.addresses_of(Member::b),
                             impl.config.witness);
  options.etcd = impl.config.etcd;
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

}  // namespace mpath::target::cluster
