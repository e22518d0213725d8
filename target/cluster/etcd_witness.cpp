#include "target/cluster/etcd_witness.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <span>
#include <utility>
#include <variant>

#include "base/event.hpp"
#include "base/sleep.hpp"
#include "base/task_group.hpp"
#include "target/cluster/etcd_client.hpp"
#include "target/config/parse.hpp"
#include "target/replication/shared_voter.hpp"

namespace mpath::target::cluster {
namespace {

using boost::asio::awaitable;
using replication::SharedVoter;
using replication::StoredRecord;
using std::chrono::milliseconds;

constexpr std::size_t questions_max = 8;
constexpr int tries = 3;  // when the other node swaps at the same time
constexpr milliseconds pause_after_failure{50};

std::string text_of(const StoredRecord& record) {
  const auto bytes = encode(record);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

struct EtcdWitness::Impl : std::enable_shared_from_this<EtcdWitness::Impl> {
  Impl(boost::asio::io_context& control, Clock& time, EtcdWitnessOptions given, Receive to, const Log& about)
      : clock(time),
        options(std::move(given)),
        receive(std::move(to)),
        log(about.about("etcd")),
        id(cluster_id(options.cluster)),
        client(control, options.endpoints, "/mptarget/" + options.cluster + "/votes",
               std::max(milliseconds(100), std::chrono::duration_cast<milliseconds>(options.lease / 2))),
        voter(options.lease, time.now()),
        asked(control.get_executor()),
        tasks(control.get_executor()) {}

  Clock& clock;
  EtcdWitnessOptions options;
  Receive receive;
  Log log;
  ClusterId id;
  EtcdClient client;
  SharedVoter voter;
  std::int64_t revision = 0;  // of what the voter knows
  std::optional<View> offered;
  std::deque<Message> questions;
  Event asked;
  TaskGroup tasks;
  std::string trouble;
  bool answered = false;
  TimePoint answered_at;
  std::uint64_t sent = 0, received = 0, refused = 0;

  void note(const std::string& why) {
    if (why == trouble) return;
    trouble = why;
    if (!why.empty()) log.warning("{}", why);
    if (why.empty()) log.notice("etcd answers");
  }

  awaitable<void> run() {
    for (;;) {
      while (questions.empty()) {
        asked.clear();
        const bool cancelled = co_await asked.wait();
        if (cancelled) co_return;
      }
      const Message question = questions.front();
      questions.pop_front();
      co_await carry(question);
    }
  }

  // What the store holds, to the voter. False: that cannot be known now, and trouble says why.
  awaitable<bool> read() {
    auto value = co_await client.read();
    if (!value) {
      note(value.error());
      co_await pause();
      co_return false;
    }
    co_return co_await take(std::move(*value));
  }

  awaitable<void> pause() {
    const bool cancelled = co_await sleep_for(clock, pause_after_failure);
    static_cast<void>(cancelled);
  }

  // Where there is nothing, what was offered becomes the first.
  awaitable<bool> take(EtcdClient::Value value) {
    if (value.revision == 0) {
      if (!offered) {
        note("etcd has no votes of this cluster; they begin when both nodes are there");
        co_return false;
      }
      StoredRecord first{.cluster = id, .serial = 1, .record = {}};
      first.record.decided = *offered;
      auto made = co_await client.swap(0, text_of(first));
      if (!made) {
        note(made.error());
        co_return false;
      }
      if (made->done) log.notice("the votes begin view={}", mpath::quoted(format_view(*offered)));
      value = std::move(made->value);
      if (value.revision == 0) co_return false;
    }
    const auto record = decode_record(std::as_bytes(std::span(value.bytes)));
    if (!record || record->cluster != id) {
      note(fmt::format("what etcd has at /mptarget/{}/votes is damaged, or of another cluster", options.cluster));
      ++refused;
      co_return false;
    }
    revision = value.revision;
    voter.observed(*record, clock.now());
    co_return true;
  }

  awaitable<void> carry(Message question) {
    // What changes nothing rests on what was read after it was asked.
    bool fresh = false;
    for (int attempt = 0; attempt < tries; ++attempt) {
      if (!voter.knows() || attempt > 0) {
        fresh = co_await read();
        if (!fresh) co_return;
      }
      const auto step = voter.step(question, clock.now());
      if (!step) co_return;
      if (!step->put) {
        if (fresh) co_return deliver(*step);
        continue;
      }
      ++sent;
      auto swapped = co_await client.swap(revision, text_of(*step->put));
      if (!swapped) {
        note(swapped.error());
        co_await pause();
        co_return;
      }
      if (swapped->done) {
        revision = swapped->value.revision;
        co_return deliver(*step);
      }
    }
  }

  void deliver(const SharedVoter::Step& step) {
    voter.committed(step);
    note("");
    ++received;
    answered = true;
    answered_at = clock.now();
    if (receive) receive(step.answer);
  }
};

EtcdWitness::EtcdWitness(boost::asio::io_context& control, Clock& clock, EtcdWitnessOptions options, Receive receive,
                         const Log& log)
    : impl_(std::make_shared<Impl>(control, clock, std::move(options), std::move(receive), log)) {
  impl_->tasks.spawn([impl = impl_] { return impl->run(); });
}

EtcdWitness::~EtcdWitness() {
  stop();
}

void EtcdWitness::ask(const Message& question) {
  auto& questions = impl_->questions;
  // An older beat has nothing to say that a newer one has not.
  if (std::holds_alternative<Beat>(question.body)) {
    std::erase_if(questions, [](const Message& each) { return std::holds_alternative<Beat>(each.body); });
  }
  if (questions.size() >= questions_max) questions.pop_front();
  questions.push_back(question);
  impl_->asked.set();
}

void EtcdWitness::offer(const View& view) {
  impl_->offered = view;
}

void EtcdWitness::stop() {
  impl_->receive = nullptr;
}

awaitable<void> EtcdWitness::close() {
  stop();
  co_await impl_->tasks.close();
}

LinkStatus EtcdWitness::status() const {
  const Impl& impl = *impl_;
  LinkStatus status{.to = Member::witness, .local = "-", .remote = "etcd " + format_portal(impl.client.endpoint())};
  const Duration silent = impl.clock.now() - impl.answered_at;
  status.heard = impl.answered && silent < impl.options.deadtime;
  if (impl.answered) status.silent = std::chrono::duration_cast<milliseconds>(silent);
  status.sent = impl.sent;
  status.received = impl.received;
  status.refused = impl.refused;
  return status;
}

const std::string& EtcdWitness::trouble() const {
  return impl_->trouble;
}

}  // namespace mpath::target::cluster
