// A logical unit on a disk in memory, led by bytes: three nexuses send whatever they like, with whatever parameters,
// and every task ends exactly once, whatever was aborted, reset, held, taken away or taken over in between.
//
// Each step is a byte: its low two bits say who (3: task management, a reset, or what the pair does), the next byte how
// many bytes of parameters come behind the sixteen of the CDB.
#include <array>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include "base/memory_device.hpp"
#include "base/shard.hpp"
#include "target/scsi/logical_unit.hpp"
#include "target/scsi/serving.hpp"
#include "tests/fuzz/fuzz_input.hpp"

namespace mpath::target {
namespace {

constexpr std::uint64_t disk_bytes = 1 << 20;
constexpr std::size_t data_bytes_max = 64 << 10;
constexpr std::size_t steps_max = 64;
constexpr std::size_t cdb_bytes = 16;

// Keeps the last state: what the other node of the pair would have.
class LastStateLog final : public StateLog {
 public:
  void commit(const LuState& after, Done done) override {
    CHECK(decode_lu_state(encode_lu_state(after)) == after);
    last = after;
    done({});
  }
  LuState last;
};

struct FuzzTask : Task {
  std::vector<std::byte> out, in;
  iovec out_part{}, in_part{};
  bool ended = false;
};

NexusName name(unsigned index) {
  return {.initiator = {.name = "iqn.x:h" + std::to_string(index), .isid = {}},
          .target = {.target = "iqn.x:t", .portal_group = 1, .relative_id = 1, .alua_group = 1}};
}

class World {
 public:
  World() {
    LuOptions options{.name = "fuzz", .removable = true};
    options.ports = {name(0).target};
    options.port_groups = {{.id = 1, .ports = {1}}};
    options.serving = &serving_;
    unit_ = std::make_unique<LogicalUnit>(shard_, options, memory_, log_state_, LuState{}, log_);
    for (unsigned i = 0; i < nexuses_.size(); ++i) {
      nexuses_[i] = &unit_->attach(name(i));
      nexuses_[i]->attentions.clear();
    }
    lead();
  }
  ~World() {
    bool closed = false;
    unit_->close([&] { closed = true; });
    while (!closed) {
      shard_.context().restart();
      CHECK(shard_.context().run_one() > 0);
    }
    for (const FuzzTask& task : tasks_) CHECK(task.ended);
  }

  void play(fuzz::Input input) {
    for (std::size_t step = 0; step < steps_max && input.bytes.size() > cdb_bytes; ++step) {
      const unsigned who = input.choice() % 4;
      if (who == nexuses_.size()) {
        manage(input);
      } else {
        send(who, input);
      }
      shard_.context().restart();
      shard_.context().poll();
    }
  }

 private:
  void send(unsigned who, fuzz::Input& input) {
    const std::size_t count =
        std::min<std::size_t>(input.choice(), input.bytes.size() - std::min(input.bytes.size(), cdb_bytes));
    if (input.bytes.size() < cdb_bytes + count) return;
    FuzzTask& task = tasks_.emplace_back();
    std::copy_n(input.bytes.begin(), cdb_bytes, task.cdb.begin());
    const auto parameters = input.bytes.subspan(cdb_bytes, count);
    input.bytes = input.bytes.subspan(cdb_bytes + count);
    task.nexus = nexuses_[who];
    task.tag = ++tag_;
    const TransferNeed need = transfer_need(task.cdb, 512);
    const std::size_t bytes = std::min<std::uint64_t>(need.bytes, data_bytes_max);
    if (need.direction == TransferNeed::Direction::out) {
      task.out.assign(parameters.begin(), parameters.end());
      task.out.resize(bytes);
    } else if (need.direction == TransferNeed::Direction::in) {
      task.in.resize(bytes);
    }
    task.out_part = {task.out.data(), task.out.size()};
    task.in_part = {task.in.data(), task.in.size()};
    if (!task.out.empty()) task.data_out = std::span(&task.out_part, 1);
    if (!task.in.empty()) task.data_in = std::span(&task.in_part, 1);
    task.data_out_bytes = static_cast<std::uint32_t>(task.out.size());
    task.data_in_room = static_cast<std::uint32_t>(task.in.size());
    task.expected_bytes = static_cast<std::uint32_t>(bytes);
    task.expects_data_out = !task.out.empty();
    task.expects_data_in = !task.in.empty();
    task.done = [](Task& done) noexcept {
      auto& ended = static_cast<FuzzTask&>(done);
      CHECK(!ended.ended && ended.data_in_bytes <= ended.in.size());
      CHECK(ended.aborted || ended.status != scsi::Status::check_condition || ended.sense.length >= 8);
      ended.ended = true;
    };
    unit_->submit(task);
  }
  void manage(fuzz::Input& input) {
    const unsigned what = input.choice();
    if (what >= 0xf0) return unit_->reset((what & 1) != 0);
    if (what >= 0xe0) return pair(what & 0x0f);
    const auto function = static_cast<iscsi::TaskFunction>(1 + what % 8);
    unit_->manage(function, *nexuses_[what / 8 % nexuses_.size()], tag_, [](iscsi::TaskResult) {});
  }

  void pair(unsigned what) {
    using enum scsi::AccessState;
    switch (what) {
      case 0:
        return hold();
      case 1:
        return release();
      case 2:
        return lead();
      case 3:
        return unit_->stand_by();
      case 4:
        return unit_->adopt_state(log_state_.last);
      case 5:
        return unit_->adopt_state({});
      case 6:
        return serving_.set_until(TimePoint::min());
      case 7:
        return serving_.set_until(never);
      default:
        unit_->set_cluster_access({{1, what % 2 != 0 ? optimized : standby}});
    }
  }
  void lead() {
    serving_.set_until(never);
    unit_->take_over([](error_code) {});
  }
  void hold() {
    if (!std::exchange(held_, true)) unit_->hold([] {});
  }
  void release() {
    if (std::exchange(held_, false)) unit_->release();
  }

  MemorySink lines_;
  LogOutput output_{lines_};
  Log log_{output_};
  Shard shard_{0};
  MemoryDevice memory_{
      {.limits = {.size_bytes = disk_bytes, .can_trim = true, .can_zero = true, .can_report_extents = true}}};
  Serving serving_;
  bool held_ = false;
  LastStateLog log_state_;
  std::unique_ptr<LogicalUnit> unit_;
  std::array<Nexus*, 3> nexuses_{};
  std::list<FuzzTask> tasks_;
  std::uint32_t tag_ = 0;
};

}  // namespace
}  // namespace mpath::target

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mpath::target::World world;
  world.play(mpath::fuzz::Input(data, size));
  return 0;
}
