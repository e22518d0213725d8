// A logical unit that is nothing but its medium: what the commands of the medium are tested against. Nothing stands in
// a command's way, and how each ended is written down.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "base/memory_device.hpp"
#include "base/shard.hpp"
#include "base/sim_clock.hpp"
#include "target/scsi/medium_commands.hpp"
#include "target/scsi/medium_state.hpp"

namespace mpath::target::test {

using Bytes = std::vector<std::byte>;

inline Bytes filled(std::size_t count, unsigned value) {
  return Bytes(count, static_cast<std::byte>(value));
}
inline Bytes joined(Bytes first, const Bytes& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

// A task with its buffers, and how it ended. Data-out comes in two pieces, so that nobody counts on one.
struct Execution {
  Task task;
  Bytes out;
  Bytes in;
  std::array<iovec, 2> out_parts{};
  iovec in_part{};

  unsigned ends = 0;
  bool dropped = false;
  scsi::Status status = scsi::Status::good;
  scsi::Sense sense;
  SenseDetail detail;
  Bytes answer;

  [[nodiscard]] bool good() const { return ends == 1 && !dropped && status == scsi::Status::good; }
  [[nodiscard]] bool failed(const scsi::Sense& with) const {
    return ends == 1 && !dropped && status == scsi::Status::check_condition && sense == with;
  }
  [[nodiscard]] bool waits() const { return ends == 0; }
};

// All or nothing by being atomic anyway; counts what it was asked for.
class TestJournal final : public Store {
 public:
  explicit TestJournal(BlockDevice& behind) : behind_(behind) {}
  [[nodiscard]] const std::string& name() const override { return behind_.name(); }
  [[nodiscard]] const mpath::BlockLimits& limits() const override { return behind_.limits(); }
  void submit(BlockRequest& request) noexcept override { behind_.submit(request); }
  void add_observer(BlockDeviceObserver& observer) override { behind_.add_observer(observer); }
  void remove_observer(BlockDeviceObserver& observer) override { behind_.remove_observer(observer); }
  void grow(std::uint64_t, std::function<void(error_code)> done) override { done({}); }
  [[nodiscard]] Usage usage() const override { return used; }
  [[nodiscard]] std::uint32_t atomic_bytes_max() const override { return 256 * 512; }
  void submit_atomic(BlockRequest& request) noexcept override {
    ++atomic_writes;
    behind_.submit(request);
  }
  void close(std::function<void(error_code)> closed) override { closed({}); }
  [[nodiscard]] std::uint64_t error_offset() const override { return failed_at; }
  [[nodiscard]] std::uint64_t system_calls() const override { return 0; }
  [[nodiscard]] StoreEngine engine() const override { return StoreEngine::threads; }

  Usage used;
  unsigned atomic_writes = 0;
  std::uint64_t failed_at = 0;

 private:
  BlockDevice& behind_;
};

class TestUnit final : public UnitCore {
 public:
  static constexpr std::uint32_t block = 512;

  explicit TestUnit(Duration latency = Duration(0))
      : memory({.limits = {.size_bytes = 1 << 20, .can_trim = true, .can_zero = true, .can_report_extents = true},
                .clock = &sim,
                .latency = latency}),
        atomic(memory),
        device(&memory) {
    lu_options.uuid = {1, 2, 3, 4, 5, 6, 0x40, 8, 0x80, 10, 11, 12, 13, 14, 15, 16};
    lu_options.transfer_bytes_max = 256 << 10;
    nexus.id = 7;
  }
  ~TestUnit() override { EXPECT_TRUE(locks.idle()) << "somebody kept a lock"; }

  Shard& shard() override { return own_shard; }
  Clock& clock() override { return sim; }
  [[nodiscard]] const LuOptions& options() const override { return lu_options; }
  BlockDevice& store() override { return *device; }
  Store* journal() override { return has_journal ? &atomic : nullptr; }
  RangeLocks& ranges() override { return locks; }
  [[nodiscard]] const LuState& state() const override { return lu_state; }
  [[nodiscard]] std::uint64_t block_count() const override {
    return memory.limits().size_bytes / memory.limits().block_size;
  }
  void change(std::function<void(LuState&)> modify, std::function<void(error_code)> done) override {
    ++changes;
    if (!change_error) modify(lu_state);
    done(change_error);
  }
  void attention(const scsi::Sense& condition, const Nexus* except) override {
    attentions.push_back(condition);
    spared = except;
  }
  void good(Task& task) override { end(task, scsi::Status::good); }
  void end(Task& task, scsi::Status status) override {
    Execution& run = run_of(task);
    ++run.ends;
    run.status = status;
  }
  void fail(Task& task, const scsi::Sense& sense, const SenseDetail& detail = {}) override {
    Execution& run = run_of(task);
    run.sense = sense;
    run.detail = detail;
    task.data_in_bytes = 0;
    end(task, scsi::Status::check_condition);
  }
  void fail(Task& task, BlockStatus status, std::optional<std::uint64_t> lba) override {
    const scsi::Sense sense = status == BlockStatus::no_space    ? scsi::sense::no_space
                              : status == BlockStatus::read_only ? scsi::sense::write_protected
                                                                 : scsi::sense::internal_failure;
    fail(task, sense, {.information = lba});
  }
  void fail(Task& task, error_code) override { fail(task, scsi::sense::internal_failure); }
  void answer(Task& task, std::span<const std::byte> answer, std::uint64_t allocation_length) override {
    const auto told = answer.first(std::min<std::uint64_t>(answer.size(), allocation_length));
    run_of(task).answer.assign(told.begin(), told.end());
    good(task);
  }
  [[nodiscard]] bool aborted(const Task& task) const override { return task.aborted; }
  void drop(Task& task) override {
    Execution& run = run_of(task);
    ++run.ends;
    run.dropped = true;
  }

  // Runs a command with this data-out and room for this much data-in.
  template <typename Command>
  std::unique_ptr<Execution> start(const Command& command, Bytes out = {}, std::size_t room = 0) {
    auto run = std::make_unique<Execution>();
    run->out = std::move(out);
    run->in.resize(room);
    Task& task = run->task;
    task.nexus = &nexus;
    const std::size_t half = run->out.size() / 2;
    run->out_parts = {iovec{run->out.data(), half}, iovec{run->out.data() + half, run->out.size() - half}};
    run->in_part = {run->in.data(), run->in.size()};
    if (!run->out.empty()) task.data_out = run->out_parts;
    if (room > 0) task.data_in = std::span(&run->in_part, 1);
    task.data_out_bytes = static_cast<std::uint32_t>(run->out.size());
    task.data_in_room = static_cast<std::uint32_t>(room);
    task.expected_bytes = static_cast<std::uint32_t>(std::max(run->out.size(), room));
    task.expects_data_out = !run->out.empty();
    task.expects_data_in = room > 0;
    if (prepare) prepare(task);
    by_task_[&task] = run.get();
    mpath::target::run(*this, task, command);
    return run;
  }
  [[nodiscard]] Bytes on_medium(std::uint64_t lba, std::uint64_t blocks) const {
    return memory.peek(lba * block, blocks * block);
  }
  void put(std::uint64_t lba, const Bytes& bytes) { memory.poke(lba * block, bytes); }
  // Lets time pass until nothing waits for it.
  void settle() {
    while (sim.step()) {
    }
  }

  Shard own_shard{0};
  MemorySink lines;
  LogOutput output{lines};
  Log no_log{output};
  SimClock sim;
  MemoryDevice memory;
  TestJournal atomic;
  BlockDevice* device;
  bool has_journal = true;
  LuOptions lu_options;
  LuState lu_state;
  RangeLocks locks;
  Nexus nexus;
  error_code change_error;
  unsigned changes = 0;
  std::vector<scsi::Sense> attentions;
  const Nexus* spared = nullptr;
  std::function<void(Task&)> prepare;  // a last word about the task of start()

 private:
  Execution& run_of(Task& task) {
    const auto found = by_task_.find(&task);
    EXPECT_NE(found, by_task_.end());
    return *found->second;
  }
  std::map<Task*, Execution*> by_task_;
};

}  // namespace mpath::target::test
