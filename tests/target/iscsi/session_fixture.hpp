// A target without portals: sessions over socket pairs, in front of disks in memory, served by real shards.
//
//    test thread: ScriptInitiator ──socketpair── shard: Session ── (mailbox) ── shard: LogicalUnit
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/memory_device.hpp"
#include "base/shard.hpp"
#include "target/iscsi/sessions.hpp"
#include "tests/support/script_initiator.hpp"
#include "wire/scsi_cdb.hpp"
#include "wire/scsi_data.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath::target::test {

using mpath::test::Bytes;
using mpath::test::ScriptError;
using mpath::test::ScriptInitiator;

inline constexpr std::uint32_t block = 512;
inline constexpr const char* target_name = "iqn.2025-11.test:target";

// Bytes that differ from place to place, so that nothing ends up elsewhere unseen.
inline Bytes pattern(std::size_t count, unsigned seed = 1) {
  Bytes bytes(count);
  std::uint32_t state = seed * 2654435761U + 1;
  for (std::byte& byte : bytes) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<std::byte>(state >> 24);
  }
  return bytes;
}

// Accepts every change and forgets it.
class NoLog final : public StateLog {
 public:
  void commit(const LuState&, Done done) override { done({}); }
};

// A disk that keeps requests until it is told to let them go.
class HeldDevice final : public BlockDevice {
 public:
  explicit HeldDevice(BlockDevice& behind) : behind_(behind) {}
  [[nodiscard]] const std::string& name() const override { return behind_.name(); }
  [[nodiscard]] const BlockLimits& limits() const override { return behind_.limits(); }
  void submit(BlockRequest& request) noexcept override {
    if (hold.load()) {
      held_.push_back(&request);
      held.fetch_add(1);
      held.notify_all();
    } else {
      behind_.submit(request);
    }
  }
  void add_observer(BlockDeviceObserver& observer) override { behind_.add_observer(observer); }
  void remove_observer(BlockDeviceObserver& observer) override { behind_.remove_observer(observer); }
  // On the shard.
  void let_go() {
    hold = false;
    for (BlockRequest* const request : std::exchange(held_, {})) behind_.submit(*request);
    held = 0;
  }
  void wait_for(unsigned count) {
    for (unsigned seen = held; seen < count; seen = held) held.wait(seen);
  }
  std::atomic<bool> hold = false;
  std::atomic<unsigned> held = 0;

 private:
  BlockDevice& behind_;
  std::vector<BlockRequest*> held_;
};

struct Disk {
  explicit Disk(Shard& shard, const Log& log, std::uint64_t size)
      : home(shard),
        memory({.limits = {.size_bytes = size, .can_trim = true, .can_zero = true, .can_report_extents = true}}),
        device(memory),
        unit(std::make_shared<LogicalUnit>(shard, LuOptions{.name = "disk"}, device, state_log, LuState{}, log)) {}
  Shard& home;
  NoLog state_log;
  MemoryDevice memory;
  HeldDevice device;
  std::shared_ptr<LogicalUnit> unit;
};

// Who logs in.
struct Who {
  std::string name = "iqn.2025-11.test:initiator";
  std::uint8_t port = 1;  // the last byte of the ISID
  std::uint16_t tsih = 0;
  std::uint16_t cid = 0;
  bool discovery = false;
  std::string local = "127.0.0.1:3260";  // where it came to
};

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() {
    for (unsigned index = 0; index < 2; ++index) shards_.push_back(std::make_unique<Shard>(index));
    for (const auto& shard : shards_) pointers_.push_back(shard.get());
    sessions = std::make_unique<Sessions>(control_, pointers_, log);
    view.name = target_name;
    view.nop_interval_ms = 0;
    view.groups.push_back({});
    parameters = {.receive_segment_max = 262144, .send_segment_max = 262144, .initial_r2t = false, .time2retain = 0};
  }
  ~SessionTest() override {
    stop();
    sessions.reset();
    target_.reset();
    view.luns.clear();  // units die before their disks
  }

  // --- the target
  Disk& add_disk(std::uint64_t lun, unsigned shard = 0, std::uint64_t size = 16 << 20) {
    disks_.push_back(std::make_unique<Disk>(*shards_[shard], log, size));
    view.luns.push_back({{lun}, disks_.back()->unit});
    return *disks_.back();
  }
  void serve() {
    if (view.luns.empty()) add_disk(0);
    publish();
    for (const auto& shard : shards_) shard->start();
    thread_ = std::thread([this] { control_.run(); });
  }
  std::shared_ptr<const TargetsView> publish() {
    target_ = std::make_shared<const TargetView>(view);
    auto all = std::make_shared<TargetsView>();
    all->targets.push_back(target_);
    if (!thread_.joinable()) sessions->set_targets(all);
    return all;
  }
  void stop() {
    if (!thread_.joinable()) return;
    for (const auto& disk : disks_) {
      await_on(disk->home, [&] { disk->device.let_go(); });
    }
    run(sessions->close(std::chrono::milliseconds(0)));
    for (const auto& disk : disks_) {
      std::promise<void> closed;
      disk->home.post([&] { disk->unit->close([&] { closed.set_value(); }); });
      closed.get_future().wait();
    }
    work_.reset();
    thread_.join();
    for (const auto& shard : shards_) shard->stop();
  }
  // What a coroutine of the control thread gives.
  template <typename T>
  T run(boost::asio::awaitable<T> work) {
    std::promise<T> result;
    auto future = result.get_future();
    boost::asio::post(control_, [this, &result, &work] {
      boost::asio::co_spawn(control_, std::move(work), [&result](std::exception_ptr exception, auto... value) {
        if (exception) {
          result.set_exception(exception);
        } else {
          result.set_value(std::move(value)...);
        }
      });
    });
    return future.get();
  }
  void run_void(boost::asio::awaitable<void> work) { run(std::move(work)); }
  template <typename Work>
  void await_on(Shard& shard, Work work) {
    std::promise<void> done;
    shard.post([&] {
      work();
      done.set_value();
    });
    done.get_future().wait();
  }

  // --- initiators
  [[nodiscard]] Admission admission(const Who& who) {
    Admission admission{.discovery = who.discovery,
                        .target = who.discovery ? nullptr : target_,
                        .initiator_name = who.name,
                        .isid = {0x80, 0, 0, 0, 0, who.port},
                        .tsih = who.tsih,
                        .cid = who.cid,
                        .remote = "127.0.0.1:40000",
                        .local = who.local,
                        .parameters = parameters};
    return admission;
  }
  [[nodiscard]] std::expected<ScriptInitiator, iscsi::LoginStatus> try_log_in(const Who& who) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw ScriptError("socketpair");
    return try_log_in(who, UniqueFd(ends[0]), UniqueFd(ends[1]));
  }
  [[nodiscard]] std::expected<ScriptInitiator, iscsi::LoginStatus> try_log_in(const Who& who, UniqueFd ours,
                                                                              UniqueFd theirs) {
    const Admission wanted = admission(who);
    auto seat = run(sessions->admit(wanted));
    if (!seat) return std::unexpected(seat.error());
    ScriptInitiator initiator{std::move(theirs)};
    initiator.tsih = (*seat)->tsih;
    initiator.cid = who.cid;
    initiator.header_digest = parameters.header_digest;
    initiator.data_digest = parameters.data_digest;
    await_control(
        [&] { sessions->establish(std::move(*seat), {.socket = std::move(ours), .stat_sn = 1, .cmd_sn = 1}); });
    return initiator;
  }
  [[nodiscard]] ScriptInitiator log_in(const Who& who) {
    auto initiator = try_log_in(who);
    if (!initiator) throw ScriptError(iscsi::name(initiator.error()));
    return std::move(*initiator);
  }
  [[nodiscard]] ScriptInitiator log_in() { return log_in(Who()); }
  // Logged in, and past the unit attention that a new nexus begins with.
  [[nodiscard]] ScriptInitiator log_in_quietly(const Who& who = Who()) {
    ScriptInitiator initiator = log_in(who);
    quiet(initiator);
    return initiator;
  }
  void quiet(ScriptInitiator& initiator) {
    for (const LunEntry& entry : view.luns) {
      for (int attempt = 0; attempt < 5; ++attempt) {
        const auto read =
            initiator.read_of(initiator.command(scsi::read_cdb(0, 1), {.in = block, .lun = entry.lun.value}));
        if (read.status == scsi::Status::good) break;
      }
    }
  }
  template <typename Work>
  void await_control(Work work) {
    std::promise<void> done;
    boost::asio::post(control_, [&] {
      work();
      done.set_value();
    });
    done.get_future().wait();
  }
  [[nodiscard]] SessionStatus status() {
    auto all = run(sessions->list());
    if (all.empty()) throw ScriptError("no session");
    return all.front();
  }
  [[nodiscard]] std::size_t session_count() { return run(sessions->list()).size(); }
  Disk& disk(std::size_t index = 0) { return *disks_[index]; }
  Shard& shard(std::size_t index) { return *shards_[index]; }
  [[nodiscard]] Bytes peek(std::uint64_t offset, std::size_t length, std::size_t index = 0) {
    Bytes bytes;
    await_on(disks_[index]->home, [&] { bytes = disks_[index]->memory.peek(offset, length); });
    return bytes;
  }
  void poke(std::uint64_t offset, const Bytes& bytes, std::size_t index = 0) {
    await_on(disks_[index]->home, [&] { disks_[index]->memory.poke(offset, bytes); });
  }

  MemorySink sink;
  LogOutput output{sink, LogLevel::debug};
  Log log{output};
  TargetView view;
  iscsi::Parameters parameters;

 private:
  boost::asio::io_context control_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{control_.get_executor()};
  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<Shard*> pointers_;
  std::vector<std::unique_ptr<Disk>> disks_;
  std::shared_ptr<const TargetView> target_;
  std::thread thread_;

 protected:
  std::unique_ptr<Sessions> sessions;
};

// The sense of a CHECK CONDITION, from its data segment.
inline scsi::Sense sense_in(const Bytes& data_segment) {
  const auto sense = scsi::decode_sense(iscsi::response_sense(data_segment));
  return sense ? sense->sense : scsi::Sense{};
}

}  // namespace mpath::target::test
