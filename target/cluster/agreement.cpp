#include "target/cluster/agreement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>
#include <variant>

#include "base/atomic_file.hpp"
#include "base/boot_id.hpp"
#include "base/check.hpp"
#include "base/offload.hpp"
#include "base/sleep.hpp"
#include "base/task_group.hpp"
#include "base/units.hpp"
#include "target/cluster/action_queue.hpp"
#include "target/cluster/etcd_witness.hpp"
#include "target/cluster/held_back_file.hpp"
#include "target/cluster/life_file.hpp"
#include "target/replication/record_file.hpp"

namespace mpath::target::cluster {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using asio::awaitable;
using replication::Action;
using replication::NodeFsm;
using replication::Persist;
using replication::RecordFile;
using replication::Send;
using std::chrono::microseconds;
using std::chrono::milliseconds;

using Outcome = std::expected<void, std::string>;

// Silence is seen within a quarter of a keepalive, whatever the logic wants to be woken for.
constexpr int looks_per_keepalive = 4;
constexpr Duration slow_after = std::chrono::seconds(2);  // a sync of 512 bytes
constexpr Duration clear_again_after = std::chrono::seconds(10);
constexpr Duration look_at_most_every = milliseconds(1);

// Only for telling lives apart: the file of lives keeps them growing when this goes back.
std::uint64_t wall_clock() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<microseconds>(now).count());
}

bool record_in(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  // Empty: its making was cut short, nothing was voted.
  return error ? fs::exists(path, error) : size > 0;
}

std::string text_of(Duration duration) {
  return format_duration(std::chrono::duration_cast<microseconds>(duration));
}

}  // namespace

struct Agreement::Impl : std::enable_shared_from_this<Impl> {
  Impl(Agreement& owner, asio::io_context& loop, Clock& given_clock, asio::thread_pool& given_pool,
       AgreementOptions given, const Log& about)
      : self(&owner),
        control(loop),
        clock(given_clock),
        pool(given_pool),
        options(std::move(given)),
        log(about.about("agreement")),
        cluster(cluster_id(options.cluster)),
        tasks(loop.get_executor()) {}

  // Constant after construction.
  Agreement* self;  // null when it is gone
  asio::io_context& control;
  Clock& clock;
  asio::thread_pool& pool;
  AgreementOptions options;
  Log log;
  ClusterId cluster;

  asio::thread_pool votes{1};  // of its own: a vote does not wait for somebody's slow file
  std::optional<TimePoint> writing_since;
  bool slow = false;  // as was logged

  TaskGroup tasks;
  bool found = false;
  bool part = false;
  bool stopped = false;
  bool telling = false;
  std::string trouble;
  std::string fence_failed;  // what the last command said
  Duration short_lease{};    // of a voter; 0: none
  std::optional<RecordFile> record;
  std::optional<LifeFile> life;
  std::uint64_t incarnation = 0;  // of `life`, which a thread of the pool may be writing
  bool in_hand = false;           // as `life` says
  bool writing_life = false;      // a thread does
  TimePoint clear_again = TimePoint::min();
  replication::HeldBack held_back;  // as it is on the medium, or on its way there
  std::optional<NodeFsm> fsm;
  std::optional<AgreementLinks> links;
  std::unique_ptr<EtcdWitness> etcd;
  ActionQueue queue;
  bool fencing = false;
  bool fence_anew = false;  // asked for again while the command of before was being ended
  std::unique_ptr<Alarm> alarm;
  View last_view;
  std::string last_wait;

  [[nodiscard]] fs::path record_path() const { return options.directory / "record"; }
  [[nodiscard]] fs::path life_path() const { return options.directory / "life"; }
  [[nodiscard]] fs::path held_back_path() const { return options.directory / "held-back"; }

  // --- beginning

  // Blocks. The record first: its lock keeps a second process from beginning a life.
  Outcome open_blocking(const replication::VoteRecord& first, bool record_exists) {
    const LifeCircumstances now{.record_exists = record_exists,
                                .joins = !record_exists && first.decided.number == 0,
                                .boot_id = options.boot_id ? *options.boot_id : read_boot_id(),
                                .wall_clock = wall_clock()};
    // A record without a life beside it is suspect: so the life comes first where both are made.
    if (!record_exists) {
      std::error_code error;
      fs::create_directories(options.directory, error);
      if (error) return std::unexpected(fmt::format("{}: {}", options.directory.string(), error.message()));
      if (auto outcome = begin_life(now); !outcome) return outcome;
    }
    auto held = read_held_back(held_back_path());
    if (!held) return std::unexpected(held.error());
    held_back = *held;
    auto opened = RecordFile::open(record_path(), cluster, first);
    if (!opened) return std::unexpected(opened.error());
    record.emplace(std::move(*opened));
    return record_exists ? begin_life(now) : Outcome();
  }

  Outcome begin_life(const LifeCircumstances& now) {
    auto begun = LifeFile::begin(life_path(), now);
    if (!begun) return std::unexpected(begun.error());
    life.emplace(std::move(*begun));
    return {};
  }

  awaitable<Outcome> begin(replication::VoteRecord first, bool record_exists) {
    const auto work = [this, &first, record_exists] { return open_blocking(first, record_exists); };
    Outcome outcome = co_await offload(pool, work);
    if (outcome) outcome = take_part();
    if (!outcome) {
      links.reset();
      record.reset();
      life.reset();
      found = record_in(record_path());
      trouble = outcome.error();
    }
    co_return outcome;
  }

  [[nodiscard]] std::vector<Key> frame_keys() const {
    std::vector<Key> keys = options.keys.all();
    for (Key& key : keys) key = frame_key(key, cluster);
    return keys;
  }

  Outcome take_part() {
    AgreementLinksOptions wanted{.self = options.node.self,
                                 .incarnation = life->incarnation(),
                                 .links = options.links,
                                 .keys = frame_keys(),
                                 .deadtime = options.node.deadtime};
    const auto receive = [this](const Message& message) { on_message(message); };
    links.emplace(control, clock, std::move(wanted), receive, log);
    if (auto opened = links->open(); !opened) return opened;
    if (!options.etcd.empty()) {
      EtcdWitnessOptions third{.endpoints = options.etcd,
                               .cluster = options.cluster,
                               .lease = options.node.lease,
                               .deadtime = options.node.deadtime};
      etcd = std::make_unique<EtcdWitness>(control, clock, std::move(third), receive, log);
    }
    found = part = true;
    incarnation = life->incarnation();
    trouble.clear();
    fsm.emplace(options.node, record->record(), life->suspect(), life->incarnation(), clock.now());
    fsm->hold_back(held_back, clock.now());
    last_view = fsm->view();
    log.notice("takes part node={} view={} life={}{}", name(options.node.self), mpath::quoted(format_view(fsm->view())),
               life->incarnation(), life->suspect() ? " suspect=" + mpath::quoted(life->reason()) : "");
    alarm = clock.make_alarm([this] { on_alarm(); });
    settle();
    return {};
  }

  // --- events

  void on_message(const Message& message) {
    if (!part) return;
    if (const auto* const grant = std::get_if<Grant>(&message.body)) watch_lease(message.from, *grant);
    fsm->on_message(message, clock.now());
    settle();
  }

  void on_alarm() {
    // What came while this process slept is heard before anything is concluded from silence.
    links->drain();
    if (!part) return;
    links->watch();
    if (!slow && writes_slowly()) {
      slow = true;
      log.error("{}", slow_line());
    }
    fsm->on_time(clock.now());
    settle();
  }

  void on_durable() {
    perform(queue.persisted());
    settle();
  }

  void settle() {
    if (!part) return;
    perform(queue.add(fsm->take_actions()));
    clear_mark();
    keep_held_back();
    note_changes();
    const TimePoint now = clock.now();
    const TimePoint look = now + options.node.keepalive / looks_per_keepalive;
    alarm->set(std::max(std::min(fsm->wake_at(), look), now + look_at_most_every));
    tell();
  }

  void tell() {
    if (telling || self == nullptr || !self->on_change) return;
    telling = true;
    self->on_change();
    telling = false;
  }

  // --- actions

  void perform(std::vector<Action> actions) {
    for (Action& action : actions) {
      if (auto* const send = std::get_if<Send>(&action)) {
        if (send->to == options.node.self) {
          deliver_to_ourselves(std::move(send->message));
        } else if (send->to == Member::witness && etcd != nullptr) {
          if (fsm->knows_all_votes()) etcd->offer(fsm->view());
          etcd->ask(send->message);
        } else {
          links->send(send->to, send->message);
        }
      } else if (auto* const persist = std::get_if<Persist>(&action)) {
        tasks.spawn(write(persist->record));
      } else {
        fence();
      }
    }
  }

  void deliver_to_ourselves(Message message) {
    asio::post(control, [weak = weak_from_this(), message = std::move(message)] {
      const auto alive = weak.lock();
      if (alive && alive->self != nullptr) alive->on_message(message);
    });
  }

  awaitable<void> write(replication::VoteRecord next) {
    const auto work = [this, &next] { return record->write(next); };
    writing_since = clock.now();
    const error_code error = co_await offload(votes, work);
    writing_since.reset();
    if (stopped || !part) co_return;
    if (std::exchange(slow, false)) log.notice("the vote record was written after all");
    if (error) {
      fail(fmt::format("{}: the vote record cannot be written: {}; mend it and start this node again",
                       record_path().string(), error.message()));
    } else {
      on_durable();
    }
  }

  void fail(std::string why) {
    trouble = std::move(why);
    part = false;
    links->close();
    if (etcd != nullptr) etcd->stop();
    alarm->cancel();
    log.error("takes no part any more reason={}", mpath::quoted(trouble));
    tell();
  }

  void fence() {
    if (fencing) {
      fence_anew = true;
      return;
    }
    fencing = true;
    tasks.spawn(run_fence());
  }

  awaitable<void> run_fence() {
    FenceSubject subject{.cluster = options.cluster, .self = options.node.self, .peer_addresses = {}};
    for (const LinkOptions& link : options.links) {
      for (const LinkRemote& remote : link.remotes) {
        if (remote.member == peer_of(options.node.self)) subject.peer_addresses.push_back(remote.address.address);
      }
    }
    log.warning("fencing peer={} command={}", name(peer_of(options.node.self)),
                options.fence.command.empty() ? "none" : mpath::quoted(options.fence.command.front()));
    const std::function<bool()> wanted = [this] { return fsm->awaits_fence() && !fence_anew; };
    const auto answer = co_await run_fence_command(clock, options.fence, subject, wanted);
    fencing = false;
    if (stopped || !part) co_return;
    if (!wanted()) {
      log.warning("fence command was broken off reason=\"the peer was heard while it ran\"");
      if (std::exchange(fence_anew, false)) fence();
      co_return;
    }
    fence_failed = answer ? "" : answer.error();
    if (answer) {
      log.notice("fenced peer={}", name(peer_of(options.node.self)));
    } else {
      log.error("fence command failed peer={} reason={}", name(peer_of(options.node.self)),
                mpath::quoted(answer.error()));
    }
    fsm->on_fenced(answer.has_value(), clock.now());
    settle();
  }

  // The mark goes when it is sure that the next life will find what made it go.
  void clear_mark() {
    if (writing_life || !life->suspect() || fsm->suspect() || !queue.idle()) return;
    if (clock.now() < clear_again) return;
    writing_life = true;
    tasks.spawn(write_mark());
  }
  awaitable<void> write_mark() {
    const auto work = [this] { return life->clear_suspect(); };
    const error_code error = co_await offload(pool, work);
    writing_life = false;
    if (error) {
      // Until that works the next life is suspect without need: it costs a filling, nothing else.
      clear_again = clock.now() + clear_again_after;
      log.warning("{}: {}", life_path().string(), error.message());
    } else {
      log.notice("memory is sound again");
    }
  }

  awaitable<bool> note_in_hand(bool value) {
    while (writing_life) {
      const bool cancelled = co_await sleep_for(clock, look_at_most_every);
      if (cancelled) co_return false;
    }
    if (!part || stopped) co_return false;
    if (in_hand == value) co_return true;
    writing_life = true;
    const auto work = [this, value] { return life->note_in_hand(value); };
    const error_code error = co_await offload(pool, work);
    writing_life = false;
    if (error) {
      log.error("{}: {}", life_path().string(), error.message());
      co_return false;
    }
    in_hand = value;
    co_return true;
  }

  // A word of the other node.
  void keep_held_back() {
    if (held_back == fsm->held_back()) return;
    held_back = fsm->held_back();
    tasks.spawn(write_held_back_later());
  }
  awaitable<void> write_held_back_later() {
    const Outcome outcome = co_await write_held_back_now();
    if (!outcome) log.error("{}: after a restart an older word counts", outcome.error());
  }
  awaitable<Outcome> write_held_back_now() {
    const auto work = [path = held_back_path(), word = held_back] { return write_held_back(path, word); };
    const error_code error = co_await offload(pool, work);
    if (error) co_return std::unexpected(fmt::format("{}: {}", held_back_path().string(), error.message()));
    co_return Outcome();
  }

  // --- what people should know

  [[nodiscard]] bool writes_slowly() const { return writing_since && clock.now() - *writing_since >= slow_after; }
  [[nodiscard]] std::string slow_line() const {
    return fmt::format("{}: the medium hangs: this node cannot vote", record_path().string());
  }

  void watch_lease(Member voter, const Grant& grant) {
    const bool is_short = grant.lease < options.node.lease;
    if (is_short && short_lease == Duration{}) {
      log.warning("{} keeps its word for {} only: leases of {} are cut to that", name(voter), text_of(grant.lease),
                  text_of(options.node.lease));
      short_lease = grant.lease;
    }
  }

  void note_changes() {
    if (fsm->view() != last_view) {
      last_view = fsm->view();
      log.notice("view {}", format_view(last_view));
    }
    std::string wait = fsm->waits_for(clock.now());
    if (wait == last_wait) return;
    last_wait = std::move(wait);
    log.info("waits for={}", mpath::quoted(last_wait));
  }
};

Agreement::Agreement(asio::io_context& control, Clock& clock, asio::thread_pool& pool, AgreementOptions options,
                     const Log& log)
    : impl_(std::make_shared<Impl>(*this, control, clock, pool, std::move(options), log)) {}

Agreement::~Agreement() {
  impl_->self = nullptr;
  impl_->part = false;
  impl_->alarm.reset();
  impl_->links.reset();
  impl_->etcd.reset();
}

awaitable<Outcome> Agreement::start() {
  Impl& impl = *impl_;
  CHECK(!impl.part && !impl.stopped);
  impl.found = record_in(impl.record_path());
  if (!impl.found) co_return Outcome();
  const replication::VoteRecord none;
  co_return co_await impl.begin(none, true);
}

awaitable<Outcome> Agreement::init(replication::VoteRecord first, bool anew) {
  Impl& impl = *impl_;
  if (impl.stopped) co_return std::unexpected("this node is being stopped");
  if (impl.fsm) co_return std::unexpected("this node takes part already");
  if (record_in(impl.record_path())) {
    if (!anew) co_return std::unexpected(fmt::format("{}: there is a vote record", impl.record_path().string()));
    const auto work = [&impl] {
      error_code error = remove_file(impl.record_path());
      return error ? error : remove_file(impl.life_path());
    };
    if (const error_code error = co_await offload(impl.pool, work); error) {
      co_return std::unexpected(fmt::format("{}: {}", impl.record_path().string(), error.message()));
    }
    impl.log.warning("the vote record was removed: what this node may have voted is forgotten");
  }
  co_return co_await impl.begin(first, false);
}

awaitable<void> Agreement::stop(bool in_order) {
  Impl& impl = *impl_;
  if (impl.stopped) co_return;
  impl.stopped = true;
  impl.part = false;
  impl.alarm.reset();
  if (impl.links) impl.links->close();
  if (impl.etcd != nullptr) co_await impl.etcd->close();
  co_await impl.tasks.close();
  // What the medium did not take of it is not there, in order or not.
  if (impl.in_hand && impl.fsm && impl.fsm->suspect()) in_order = false;
  if (in_order && impl.life) {
    const auto work = [&impl] { return impl.life->end(); };
    if (const error_code error = co_await offload(impl.pool, work); error) {
      impl.log.error("{}: {}: the next life will be suspect", impl.life_path().string(), error.message());
    }
  }
  impl.record.reset();
  impl.life.reset();
}

bool Agreement::found() const {
  return impl_->found;
}

bool Agreement::takes_part() const {
  return impl_->part;
}

const std::string& Agreement::trouble() const {
  return impl_->trouble;
}

bool Agreement::has_fsm() const {
  return impl_->fsm.has_value();
}

NodeFsm& Agreement::fsm() {
  CHECK(impl_->fsm);
  return *impl_->fsm;
}

const NodeFsm& Agreement::fsm() const {
  CHECK(impl_->fsm);
  return *impl_->fsm;
}

awaitable<Outcome> Agreement::hold_back(replication::MemberSet members) {
  Impl& impl = *impl_;
  if (!impl.part) co_return std::unexpected("this node takes no part in the pair");
  impl.held_back = {.number = impl.fsm->held_back().number + 1, .members = members};
  impl.fsm->hold_back(impl.held_back, impl.clock.now());
  impl.settle();
  co_return co_await impl.write_held_back_now();
}

awaitable<bool> Agreement::note_in_hand(bool in_hand) {
  co_return co_await impl_->note_in_hand(in_hand);
}

bool Agreement::in_hand() const {
  return impl_->in_hand;
}

void Agreement::settle() {
  impl_->settle();
}

std::uint64_t Agreement::incarnation() const {
  return impl_->incarnation;
}

std::vector<LinkStatus> Agreement::links() const {
  auto all = impl_->links ? impl_->links->status() : std::vector<LinkStatus>();
  if (impl_->etcd != nullptr) all.push_back(impl_->etcd->status());
  return all;
}

void Agreement::set_keys(const ClusterKeys& keys) {
  impl_->options.keys = keys;
  if (impl_->links) impl_->links->set_keys(impl_->frame_keys());
}

std::vector<std::string> Agreement::alarms() const {
  const Impl& impl = *impl_;
  std::vector<std::string> lines;
  if (!impl.trouble.empty()) lines.push_back(impl.trouble);
  if (impl.etcd != nullptr && !impl.etcd->trouble().empty()) lines.push_back("witness: " + impl.etcd->trouble());
  if (impl.writes_slowly()) lines.push_back(impl.slow_line());
  if (impl.life && impl.fsm && impl.fsm->suspect()) lines.push_back("suspect: " + impl.life->reason());
  if (!impl.fence_failed.empty()) lines.push_back("the fence command failed: " + impl.fence_failed);
  if (impl.short_lease != Duration{}) {
    lines.push_back(fmt::format("a voter keeps its word for {} only, the lease is {}: start the witness with --lease",
                                text_of(impl.short_lease), text_of(impl.options.node.lease)));
  }
  return lines;
}

}  // namespace mpath::target::cluster
