#include "target/scsi/copy_end.hpp"

#include <algorithm>

#include "base/shard.hpp"
#include "target/scsi/logical_unit.hpp"
#include "target/scsi/task_data.hpp"
#include "wire/scsi_data.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath::target {
namespace {

constexpr scsi::Sense third_party_failed{scsi::SenseKey::copy_aborted, 0x0d, 0x01};
constexpr std::uint32_t capacity_bytes = 32;
constexpr unsigned attentions_max = 16;

class OwnEnd final : public CopyEnd {
 public:
  OwnEnd(UnitCore& core, Task& task) : core_(core), task_(task) {}

  Part<Outcome> open() override {
    block_bytes = mpath::target::block_bytes(core_);
    block_count = core_.block_count();
    co_return Outcome();
  }
  Part<Outcome> read(std::uint64_t lba, std::uint64_t blocks, std::span<std::byte> into) override {
    BlockLock lock(core_.ranges(), lba, blocks, BlockLock::Kind::shared);
    co_await lock;
    if (const auto obstacle = core_.medium().obstacle()) co_return Outcome::fail(obstacle->sense, obstacle->detail);
    StoreIo io(core_.store(), BlockOp::read, lba * block_bytes, into.size());
    io.set_data(into);
    const BlockStatus status = co_await io;
    if (status != BlockStatus::ok) co_return Outcome::read_error(status, lba);
    co_return Outcome();
  }
  // Zeroes stay what they are on a thin source: nothing.
  Part<Outcome> write(std::uint64_t lba, std::uint64_t blocks, std::span<std::byte> from) override {
    if (write_protected(core_)) co_return Outcome::fail(scsi::sense::write_protected);
    const bool clear = core_.options().thin && all_zero(from);
    BlockLock lock(core_.ranges(), lba, blocks, BlockLock::Kind::shared);
    co_await lock;
    if (core_.aborted(task_)) co_return Outcome::dropped();
    if (const auto obstacle = core_.medium().obstacle()) co_return Outcome::fail(obstacle->sense, obstacle->detail);
    StoreIo io(core_.store(), clear ? BlockOp::write_zeroes : BlockOp::write, lba * block_bytes, from.size());
    io.fua = write_through(core_);
    if (!clear) io.set_data(from);
    const BlockStatus status = co_await io;
    if (status != BlockStatus::ok) co_return Outcome::write_error(status, lba);
    if (!clear) core_.medium().note_written(from.size());
    co_return Outcome();
  }
  Part<Outcome> close() override { co_return Outcome(); }

 private:
  UnitCore& core_;
  Task& task_;
};

// Runs a function on another shard and comes back.
template <typename Work>
class OnShard {
 public:
  OnShard(Shard& home, Shard& there, Work work) : home_(home), there_(there), work_(std::move(work)) {}
  bool await_ready() noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) {
    // `back` may be called later, and on the other shard.
    there_.post([this, waiting] { work_([this, waiting] { home_.post([waiting] { waiting.resume(); }); }); });
  }
  void await_resume() noexcept {}

 private:
  Shard& home_;
  Shard& there_;
  Work work_;
};

// A task of ours for the other unit.
class PeerCommand final : public Task {
 public:
  PeerCommand(LogicalUnit& unit, Nexus& to, const scsi::Cdb& command, Mailbox<Task, &Task::next>* back) : unit_(unit) {
    nexus = &to;
    std::copy(command.bytes.begin(), command.bytes.end(), cdb.begin());
    cdb_length = command.length;
    home = back;
    done = [](Task& task) noexcept { static_cast<PeerCommand&>(task).ended(); };
  }
  void send(std::span<std::byte> bytes) {
    part_ = {.iov_base = bytes.data(), .iov_len = bytes.size()};
    data_out = std::span(&part_, 1);
    data_out_bytes = expected_bytes = static_cast<std::uint32_t>(bytes.size());
    expects_data_out = true;
  }
  void receive(std::span<std::byte> bytes) {
    part_ = {.iov_base = bytes.data(), .iov_len = bytes.size()};
    data_in = std::span(&part_, 1);
    data_in_room = expected_bytes = static_cast<std::uint32_t>(bytes.size());
    expects_data_in = true;
  }
  bool await_ready() noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiting) noexcept {
    waiting_ = waiting;
    inside_submit_ = true;
    unit_.submit(*this);
    inside_submit_ = false;
    return !ended_;
  }
  // Good, with as many bytes as were asked for.
  bool await_resume() noexcept {
    return !aborted && status == scsi::Status::good && (!expects_data_in || data_in_bytes == data_in_room);
  }
  // The unit had something to say first, and has said it now.
  [[nodiscard]] bool told_attention() const {
    const auto told = scsi::decode_sense(sense.view());
    return !aborted && status == scsi::Status::check_condition && told &&
           told->sense.key == scsi::SenseKey::unit_attention;
  }

 private:
  void ended() noexcept {
    ended_ = true;
    if (!inside_submit_) waiting_.resume();
  }

  LogicalUnit& unit_;
  iovec part_{};
  std::coroutine_handle<> waiting_;
  bool inside_submit_ = false;
  bool ended_ = false;
};

class OtherEnd final : public CopyEnd {
 public:
  OtherEnd(UnitCore& core, LogicalUnit& unit, const NexusName& name)
      : home_(core.shard()),
        unit_(unit),
        name_(name),
        back_(home_.context(), nullptr, [](void*, Task& task) noexcept { task.done(task); }) {}

  Part<Outcome> open() override {
    auto attach = [this](auto back) {
      nexus_ = &unit_.attach(name_);
      nexus_->of_copy = true;
      back();
    };
    OnShard attaching(home_, unit_.shard(), attach);
    co_await attaching;
    block_bytes = unit_.block_bytes();
    // The nexus is new and has unit attentions to tell.
    bool ready = false;
    for (unsigned i = 0; i < attentions_max && !ready; ++i) {
      PeerCommand test(unit_, *nexus_, scsi::test_unit_ready_cdb(), mailbox());
      ready = co_await test;
      if (!ready && !test.told_attention()) break;
    }
    if (!ready) co_return Outcome::fail(third_party_failed);
    std::vector<std::byte> answer(capacity_bytes);
    PeerCommand ask(unit_, *nexus_, scsi::read_capacity_16_cdb(), mailbox());
    ask.receive(answer);
    const bool told = co_await ask;
    const auto capacity = scsi::decode_capacity_16(answer);
    if (!told || !capacity) co_return Outcome::fail(third_party_failed);
    block_count = capacity->last_lba + 1;
    co_return Outcome();
  }
  Part<Outcome> read(std::uint64_t lba, std::uint64_t blocks, std::span<std::byte> into) override {
    const scsi::Cdb cdb = scsi::read_cdb(lba, static_cast<std::uint32_t>(blocks));
    for (unsigned i = 0; i < attentions_max; ++i) {
      PeerCommand command(unit_, *nexus_, cdb, mailbox());
      command.receive(into);
      const bool good = co_await command;
      if (good) co_return Outcome();
      if (!command.told_attention()) break;
    }
    co_return Outcome::fail(third_party_failed);
  }
  Part<Outcome> write(std::uint64_t lba, std::uint64_t blocks, std::span<std::byte> from) override {
    const scsi::Cdb cdb = scsi::write_cdb(lba, static_cast<std::uint32_t>(blocks));
    for (unsigned i = 0; i < attentions_max; ++i) {
      PeerCommand command(unit_, *nexus_, cdb, mailbox());
      command.send(from);
      const bool good = co_await command;
      if (good) co_return Outcome();
      if (!command.told_attention()) break;
    }
    co_return Outcome::fail(third_party_failed);
  }
  Part<Outcome> close() override {
    if (nexus_ == nullptr) co_return Outcome();
    auto detach = [this](auto back) { unit_.detach(*std::exchange(nexus_, nullptr), back); };
    OnShard detaching(home_, unit_.shard(), detach);
    co_await detaching;
    co_return Outcome();
  }

 private:
  Mailbox<Task, &Task::next>* mailbox() { return &home_ == &unit_.shard() ? nullptr : &back_; }

  Shard& home_;
  LogicalUnit& unit_;
  NexusName name_;
  Mailbox<Task, &Task::next> back_;
  Nexus* nexus_ = nullptr;  // lives on the other unit's shard
};

}  // namespace

std::unique_ptr<CopyEnd> own_end(UnitCore& core, Task& task) {
  return std::make_unique<OwnEnd>(core, task);
}

std::unique_ptr<CopyEnd> other_end(UnitCore& core, LogicalUnit& unit, const NexusName& on_behalf_of) {
  return std::make_unique<OtherEnd>(core, unit, on_behalf_of);
}

}  // namespace mpath::target
