// A logical unit on a disk in memory, with nexuses that send it commands, and a state log that can be made to wait.
//
// The shard's loop does not run by itself: poll() lets it. Time is the disk's latency, moved by settle().
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/memory_device.hpp"
#include "base/shard.hpp"
#include "base/sim_clock.hpp"
#include "target/scsi/logical_unit.hpp"
#include "wire/scsi_cdb.hpp"
#include "wire/scsi_reservation.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath::target::test {

// Keeps what was committed last: what a crash would leave.
class FakeStateLog final : public StateLog {
 public:
  void commit(const LuState& after, Done done) override {
    ++commits;
    if (error) return done(error);
    if (!held) {
      durable = encode_lu_state(after);
      return done({});
    }
    waiting.push_back({encode_lu_state(after), std::move(done)});
  }
  void let_one_through() {
    auto [text, done] = std::move(waiting.front());
    waiting.pop_front();
    durable = text;
    done({});
  }
  bool held = false;
  error_code error;
  unsigned commits = 0;
  std::string durable;
  std::deque<std::pair<std::string, Done>> waiting;
};

// A command under way, and its answer.
struct Call : Task {
  std::vector<std::byte> out;
  std::vector<std::byte> in;
  iovec out_part{};
  iovec in_part{};
  unsigned ends = 0;

  [[nodiscard]] bool good() const { return ends == 1 && !aborted && status == scsi::Status::good; }
  [[nodiscard]] bool conflict() const { return ends == 1 && status == scsi::Status::reservation_conflict; }
  // What CHECK CONDITION says; "no sense" for everything else.
  [[nodiscard]] scsi::Sense told() const {
    if (ends != 1 || status != scsi::Status::check_condition) return {};
    const auto data = scsi::decode_sense(sense.view());
    return data ? data->sense : scsi::Sense{};
  }
  [[nodiscard]] std::vector<std::byte> answer() const {
    return {in.begin(), in.begin() + static_cast<std::ptrdiff_t>(data_in_bytes)};
  }
};

struct UnitWorld {
  static constexpr std::uint32_t block = 512;
  static constexpr std::uint64_t size_bytes = 4 << 20;

  // `change` may make the options others; `front` puts a device before the disk.
  explicit UnitWorld(Duration latency = Duration(0), LuState state = {},
                     const std::function<void(LuOptions&)>& change = nullptr,
                     const std::function<BlockDevice&(BlockDevice&)>& front = nullptr)
      : memory({.limits = {.size_bytes = size_bytes, .can_trim = true, .can_zero = true, .can_report_extents = true},
                .clock = &sim,
                .latency = latency}) {
    LuOptions options{.name = "disk", .uuid = {1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}};
    options.revision = "1.0";
    options.ports = {port(1), port(2)};
    options.port_groups = {{.id = 1, .ports = {1}}, {.id = 2, .ports = {2}}};
    if (change) change(options);
    BlockDevice& device = front ? front(memory) : memory;
    unit = std::make_unique<LogicalUnit>(shard, options, device, state_log, std::move(state), log);
    poll();
    for (unsigned i = 0; i < 3; ++i) nexuses.push_back(&unit->attach(name(i)));
  }
  ~UnitWorld() {
    if (closed) return;
    state_log.held = false;
    while (!state_log.waiting.empty()) state_log.let_one_through();
    unit->close([this] { closed = true; });
    settle();
    EXPECT_TRUE(closed);
  }

  static TargetPort port(std::uint16_t group) {
    return {.target = "iqn.2025-11.local.test:disk", .portal_group = group, .relative_id = group, .alua_group = group};
  }
  static NexusName name(unsigned index, std::uint16_t group = 1) {
    return {.initiator = {.name = "iqn.2025-11.local.host" + std::to_string(index),
                          .isid = {0x80, 0, 0, 0, 0, static_cast<std::uint8_t>(index)}},
            .target = port(group)};
  }
  // Every nexus has been told of everything.
  void hear_all() {
    for (Nexus* nexus : nexuses) nexus->attentions.clear();
  }

  std::unique_ptr<Call> send(unsigned from, const scsi::Cdb& cdb, std::vector<std::byte> out = {},
                             iscsi::TaskAttribute attribute = iscsi::TaskAttribute::simple) {
    auto call = std::make_unique<Call>();
    Call& task = *call;
    std::copy(cdb.bytes.begin(), cdb.bytes.end(), task.cdb.begin());
    task.nexus = nexuses.at(from);
    task.tag = ++last_tag;
    task.attribute = attribute;
    const TransferNeed need = transfer_need(task.cdb, block);
    call->out = std::move(out);
    if (need.direction == TransferNeed::Direction::out) call->out.resize(need.bytes);
    if (need.direction == TransferNeed::Direction::in)
      call->in.assign(std::min<std::uint64_t>(need.bytes, 1 << 20), std::byte{0xee});
    call->out_part = {call->out.data(), call->out.size()};
    call->in_part = {call->in.data(), call->in.size()};
    if (!call->out.empty()) task.data_out = std::span(&call->out_part, 1);
    if (!call->in.empty()) task.data_in = std::span(&call->in_part, 1);
    task.data_out_bytes = static_cast<std::uint32_t>(call->out.size());
    task.data_in_room = static_cast<std::uint32_t>(call->in.size());
    task.expected_bytes = static_cast<std::uint32_t>(std::max(call->out.size(), call->in.size()));
    task.expects_data_out = !call->out.empty();
    task.expects_data_in = !call->in.empty();
    task.done = [](Task& ended) noexcept { ++static_cast<Call&>(ended).ends; };
    unit->submit(task);
    return call;
  }
  std::unique_ptr<Call> run(unsigned from, const scsi::Cdb& cdb, std::vector<std::byte> out = {}) {
    auto call = send(from, cdb, std::move(out));
    settle();
    EXPECT_EQ(call->ends, 1u);
    return call;
  }
  void poll() {
    shard.context().restart();
    shard.context().poll();
  }
  void settle() {
    do poll();
    while (sim.step());
    poll();
  }

  // --- words for CDBs that initiators of this project do not build --------------------------------------------------
  static scsi::Cdb cdb(std::initializer_list<unsigned> bytes) {
    scsi::Cdb made{.length = static_cast<std::uint8_t>(bytes.size())};
    std::transform(bytes.begin(), bytes.end(), made.bytes.begin(),
                   [](unsigned b) { return static_cast<std::byte>(b); });
    return made;
  }
  std::unique_ptr<Call> persistent_out(unsigned from, scsi::PersistentService service, unsigned type,
                                       const scsi::PersistentOutList& list) {
    const auto bytes = scsi::encode_persistent_out(list);
    return run(from,
               cdb({0x5f, static_cast<unsigned>(service), type, 0, 0, 0, 0, static_cast<unsigned>(bytes.size() >> 8),
                    static_cast<unsigned>(bytes.size() & 0xff), 0}),
               bytes);
  }
  std::unique_ptr<Call> enroll(unsigned from, std::uint64_t key) {
    return persistent_out(from, scsi::PersistentService::register_and_ignore, 0, {.service_key = key});
  }
  std::unique_ptr<Call> reserve(unsigned from, std::uint64_t key, unsigned type) {
    return persistent_out(from, scsi::PersistentService::reserve, type, {.key = key});
  }

  MemorySink lines;
  LogOutput output{lines};
  Log log{output};
  Shard shard{0};
  SimClock sim;
  MemoryDevice memory;
  FakeStateLog state_log;
  std::unique_ptr<LogicalUnit> unit;
  std::vector<Nexus*> nexuses;
  std::uint32_t last_tag = 0;
  bool closed = false;
};

}  // namespace mpath::target::test
