// A small world for map tests: one disk behind simulated ports, on a clock that stands still.
//
// A command travels: submitted -> (at the target) executed -> (back) answered. A port can be cut at any of these points.
// What was on its way when a session ended stays a ghost: the target may carry it out later, unless the nexus is ended
// first by reinstatement, by a new login, or by a LU reset.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/sim_clock.hpp"
#include "initiator/scsi_port.hpp"
#include "mpathd/map_device.hpp"
#include "wire/scsi_cdb.hpp"
#include "wire/scsi_data.hpp"
#include "wire/scsi_reservation.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath::test {

inline constexpr std::uint32_t block_bytes = 512;
inline constexpr std::uint64_t disk_blocks = 64;

struct Disk {
  std::vector<std::byte> bytes = std::vector<std::byte>(disk_blocks * block_bytes);
  std::uint64_t flushes = 0;
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  bool knows_write_same = true;
  scsi::Status next_status = scsi::Status::good;  // told once, instead of carrying the command out
  scsi::Sense next_sense;
  std::string vendor = "SIM";
  std::vector<scsi::PortGroup> groups;  // none: no ALUA
  std::uint8_t transition_seconds = 0;
  std::uint8_t identity = 1;  // in its NAA designator: another number is another disk
  std::uint64_t blocks = disk_blocks;
  // Persistent reservations, as far as maps are concerned: what was said, and the keys that READ KEYS tells.
  struct ReserveOut {
    unsigned service;
    std::uint64_t service_key;
    friend bool operator==(const ReserveOut&, const ReserveOut&) = default;
  };
  std::vector<ReserveOut> reserve_out;
  std::vector<std::uint64_t> keys;

  // What of it a port group in this state refuses (SPC-4 5.15.2.4), before it is carried out.
  [[nodiscard]] bool refused(const ScsiTask& task, std::uint16_t group, scsi::Sense& sense) const {
    const auto found = std::ranges::find(groups, group, &scsi::PortGroup::id);
    const auto command = scsi::parse_cdb(task.cdb.view());
    if (found == groups.end() || !command) return false;
    const bool always = std::holds_alternative<scsi::Inquiry>(*command) || std::holds_alternative<scsi::ReportLuns>(*command) ||
                        std::holds_alternative<scsi::ReportTargetPortGroups>(*command);
    if (always) return false;
    switch (found->state) {
      case scsi::AccessState::standby:
        sense = scsi::sense::alua_standby;
        return !std::holds_alternative<scsi::ModeSense>(*command);
      case scsi::AccessState::transitioning:
        sense = scsi::sense::alua_transition;
        return true;
      case scsi::AccessState::unavailable:
      case scsi::AccessState::offline:
        sense = scsi::sense::alua_unavailable;
        return true;
      case scsi::AccessState::optimized:
      case scsi::AccessState::non_optimized:
      case scsi::AccessState::lba_dependent:
        return false;
    }
    return false;
  }

  // Carries a command out, as a target does. `group` is the port group that it came by.
  scsi::Status execute(const ScsiTask& task, scsi::Sense& sense, std::uint16_t group = 0) {
    if (refused(task, group, sense)) return scsi::Status::check_condition;
    if (next_status != scsi::Status::good) {
      sense = next_sense;
      return std::exchange(next_status, scsi::Status::good);
    }
    const auto command = scsi::parse_cdb(task.cdb.view());
    if (!command) return refuse(sense, 0x20);
    if (const auto* read = std::get_if<scsi::Read>(&*command)) {
      ++reads;
      std::uint64_t at = read->lba * block_bytes;
      for (const iovec& piece : task.data) {
        std::memcpy(piece.iov_base, bytes.data() + at, piece.iov_len);
        at += piece.iov_len;
      }
      return scsi::Status::good;
    }
    if (const auto* write = std::get_if<scsi::Write>(&*command)) {
      ++writes;
      std::uint64_t at = write->lba * block_bytes;
      for (const iovec& piece : task.data) {
        std::memcpy(bytes.data() + at, piece.iov_base, piece.iov_len);
        at += piece.iov_len;
      }
      return scsi::Status::good;
    }
    if (const auto* same = std::get_if<scsi::WriteSame>(&*command)) {
      if (!knows_write_same) return refuse(sense, 0x20);
      for (std::uint32_t block = 0; block < same->blocks; ++block) {
        std::memcpy(bytes.data() + (same->lba + block) * block_bytes, task.data[0].iov_base, block_bytes);
      }
      return scsi::Status::good;
    }
    if (std::holds_alternative<scsi::SynchronizeCache>(*command)) {
      ++flushes;
      return scsi::Status::good;
    }
    if (const auto* reserve = std::get_if<scsi::PersistentReserveOut>(&*command)) {
      const std::span list(static_cast<const std::byte*>(task.data[0].iov_base), task.data[0].iov_len);
      reserve_out.push_back({reserve->service, scsi::decode_persistent_out(list, false)->service_key});
      return scsi::Status::good;
    }
    if (const auto answer = tell(*command, group)) {
      std::size_t at = 0;
      for (const iovec& piece : task.data) {
        const std::size_t part = std::min(piece.iov_len, answer->size() - at);
        std::memcpy(piece.iov_base, answer->data() + at, part);
        at += part;
      }
      return scsi::Status::good;
    }
    if (std::holds_alternative<scsi::TestUnitReady>(*command) || std::holds_alternative<scsi::Unmap>(*command)) {
      return scsi::Status::good;
    }
    return refuse(sense, 0x20);
  }

 private:
  // What it says of itself.
  [[nodiscard]] std::optional<scsi::Bytes> tell(const scsi::Command& command, std::uint16_t group) const {
    const auto tpgs = static_cast<std::uint8_t>(groups.empty() ? 0 : 1);
    if (const auto* inquiry = std::get_if<scsi::Inquiry>(&command)) {
      if (!inquiry->evpd) return scsi::encode_inquiry({.tpgs = tpgs, .vendor = vendor, .product = "DISK", .revision = "1"});
      if (inquiry->page == 0x00) return scsi::encode_vpd_supported(std::vector<std::uint8_t>{0x00, 0x83});
      scsi::Bytes naa(16, std::byte{0});
      naa[0] = std::byte{0x60};
      naa[15] = std::byte{identity};
      std::vector<scsi::Designator> designators{{.type = scsi::DesignatorType::naa, .bytes = naa}};
      if (!groups.empty()) {
        designators.push_back({.association = scsi::Association::target_port,
                               .type = scsi::DesignatorType::target_port_group,
                               .bytes = {std::byte{0}, std::byte{0}, std::byte{0}, static_cast<std::byte>(group)}});
      }
      return scsi::encode_vpd_device_id(designators);
    }
    if (!groups.empty() && std::holds_alternative<scsi::ReportTargetPortGroups>(command)) {
      return scsi::encode_port_groups_extended(groups, transition_seconds);
    }
    if (std::holds_alternative<scsi::ReadCapacity16>(command)) {
      return scsi::encode_capacity_16({.last_lba = blocks - 1, .block_bytes = block_bytes});
    }
    if (std::holds_alternative<scsi::PersistentReserveIn>(command)) return scsi::encode_reservation_keys({.keys = keys});
    if (std::holds_alternative<scsi::ModeSense>(command)) {
      return scsi::encode_mode_sense({.dpo_fua = true, .write_cache = true}, true);
    }
    return std::nullopt;
  }

  static scsi::Status refuse(scsi::Sense& sense, std::uint8_t asc) {
    sense = {scsi::SenseKey::illegal_request, asc, 0};
    return scsi::Status::check_condition;
  }
};

// A command as the target holds it: its own copy of CDB and data-out, because the initiator's may be gone.
struct Ghost {
  ScsiTask task;
  std::vector<std::byte> bytes;
  iovec piece{};
};

class SimPort final : public ScsiPort {
 public:
  SimPort(SimClock& clock, Disk& disk, std::uint16_t group = 1) : clock_(clock), disk_(disk), group_(group) {}

  // The test's hands.
  void log_in() {
    up_ = true;
    ++generation_;
    ghosts_.clear();  // reinstatement: the target ends what the old session left
    for (ScsiPortObserver* observer : std::vector(observers_)) observer->on_port_up();
  }
  // Ends the session. Of the commands on their way the first `executed` were carried out; the others become ghosts.
  void lose(std::size_t executed = 0) {
    if (!up_) return;
    up_ = false;
    auto wire = std::exchange(wire_, {});
    for (ScsiTask* task : wire) {
      scsi::Sense sense;
      if (executed > 0) {
        disk_.execute(*task, sense, alua_group);
        --executed;
      } else if (task->direction == DataDirection::out) {
        keep_ghost(*task);
      }
      task->outcome = TaskOutcome::lost;
    }
    for (ScsiTask* task : wire) task->done(*task);
    for (ScsiPortObserver* observer : std::vector(observers_)) observer->on_port_down({SessionEnd::peer_closed, "cut"});
  }
  // Carries out and answers `count` commands, oldest first. Says how many there were.
  std::size_t serve(std::size_t count = ~std::size_t{0}) {
    std::size_t served = 0;
    while (served < count && !wire_.empty()) {
      ScsiTask* task = wire_.front();
      wire_.pop_front();
      task->outcome = TaskOutcome::answered;
      if (attention) {
        task->status = scsi::Status::check_condition;
        task->sense = *std::exchange(attention, std::nullopt);
      } else {
        task->status = disk_.execute(*task, task->sense, alua_group);
      }
      task->transferred = task->status == scsi::Status::good ? task->length - short_by : 0;
      task->done(*task);
      ++served;
    }
    return served;
  }
  // The target carries out a command of a dead session.
  bool run_ghost() {
    if (ghosts_.empty()) return false;
    scsi::Sense sense;
    disk_.execute(ghosts_.front()->task, sense, ghosts_are_refused ? alua_group : std::uint16_t{0});
    ghosts_.pop_front();
    return true;
  }
  [[nodiscard]] std::size_t on_wire() const { return wire_.size(); }
  [[nodiscard]] std::size_t ghosts() const { return ghosts_.size(); }

  // What travels: for those that look at it.
  [[nodiscard]] std::size_t on_wire(scsi::Opcode opcode) const {
    return static_cast<std::size_t>(std::ranges::count_if(
        wire_, [&](const ScsiTask* task) { return std::to_integer<std::uint8_t>(task->cdb.bytes[0]) == std::to_underlying(opcode); }));
  }

  std::uint16_t alua_group = 0;
  std::optional<scsi::Sense> attention;  // pending
  bool ghosts_are_refused = true;        // by the state of the port group, as all commands are
  void end_ghosts() { ghosts_.clear(); }
  std::uint32_t window = 8;
  std::uint32_t short_by = 0;      // bytes missing in answers that say GOOD
  bool fence_works = true;
  Duration fence_takes = std::chrono::milliseconds(10);
  unsigned fences = 0;
  unsigned aborts = 0;

  // ScsiPort
  [[nodiscard]] bool up() const override { return up_; }
  [[nodiscard]] std::uint32_t room() const override {
    return up_ && wire_.size() < window ? window - static_cast<std::uint32_t>(wire_.size()) : 0;
  }
  [[nodiscard]] bool submit(ScsiTask& task) noexcept override {
    if (room() == 0) return false;
    wire_.push_back(&task);
    return true;
  }
  void abort_session(SessionEnd, const std::string&) override {
    ++aborts;
    lose();
  }
  [[nodiscard]] std::uint64_t generation() const override { return generation_; }
  [[nodiscard]] std::uint16_t portal_group() const override { return group_; }
  void fence_by_reinstatement(ScsiPort& lost, TimePoint, FenceDone done) override {
    ++fences;
    auto& other = static_cast<SimPort&>(lost);
    later([this, &other, done] {
      if (up_ && fence_works) other.ghosts_.clear();
      done(up_ && fence_works);
    });
  }
  void fence_by_lu_reset(scsi::Lun, TimePoint, FenceDone done) override {
    ++fences;
    later([this, done] {
      if (up_ && fence_works) {
        for (SimPort* port : peers) port->end_all();
      }
      done(up_ && fence_works);
    });
  }
  void add_observer(ScsiPortObserver& observer) override { observers_.push_back(&observer); }
  void remove_observer(ScsiPortObserver& observer) override { std::erase(observers_, &observer); }

  std::vector<SimPort*> peers;  // whom a LU reset reaches

 private:
  // A LU reset ends everything, and nobody but the sender is told.
  void end_all() {
    ghosts_.clear();
    reset_.insert(reset_.end(), wire_.begin(), wire_.end());
  }
  void keep_ghost(const ScsiTask& task) {
    if (std::ranges::find(reset_, &task) != reset_.end()) return;
    auto ghost = std::make_unique<Ghost>();
    ghost->task = task;
    for (const iovec& piece : task.data) {
      const auto* first = static_cast<const std::byte*>(piece.iov_base);
      ghost->bytes.insert(ghost->bytes.end(), first, first + piece.iov_len);
    }
    ghost->piece = {ghost->bytes.data(), ghost->bytes.size()};
    ghost->task.data = std::span<const iovec>(&ghost->piece, 1);
    ghosts_.push_back(std::move(ghost));
  }
  void later(std::function<void()> work) {
    calls_.push_back(nullptr);
    auto place = std::prev(calls_.end());
    *place = clock_.make_alarm([this, place, work] {
      const auto keep = std::move(*place);
      calls_.erase(place);
      work();
    });
    (*place)->set(clock_.now() + fence_takes);
  }

  SimClock& clock_;
  Disk& disk_;
  std::uint16_t group_;
  bool up_ = false;
  std::uint64_t generation_ = 0;
  std::deque<ScsiTask*> wire_;
  std::vector<const ScsiTask*> reset_;
  std::deque<std::unique_ptr<Ghost>> ghosts_;
  std::vector<ScsiPortObserver*> observers_;
  std::list<std::unique_ptr<Alarm>> calls_;
};

// A path owner that does what the test says and remembers what it was told.
class SimOwner final : public MapPathOwner {
 public:
  void on_command_bad(CheckerState how, bool) override {
    bad.push_back(how);
    if (when_bad) when_bad();
  }
  void on_unit_attention(const scsi::Sense&, bool reread) override {
    ++attentions;
    if (reread && when_bad) when_bad();
  }
  void on_look_wanted() override { ++looks; }
  [[nodiscard]] PathSnapshot path_snapshot() const override { return {}; }
  std::vector<CheckerState> bad;
  unsigned looks = 0;
  unsigned attentions = 0;
  std::function<void()> when_bad;
};

class Lines final : public MapListener {
 public:
  void on_map_line(const std::string& line, bool) override { lines.push_back(line); }
  std::vector<std::string> lines;
};

inline LuFacts small_disk() {
  LuFacts facts;
  facts.wwid = "3600000000000000001";
  facts.size_bytes = disk_blocks * block_bytes;
  facts.block_size = block_bytes;
  facts.fua = true;
  return facts;
}

// One request of a test, with its memory.
struct Request : BlockRequest {
  explicit Request(BlockOp what, std::uint64_t block = 0, std::uint64_t blocks = 1, std::byte fill = {}) {
    op = what;
    offset = block * block_bytes;
    length = what == BlockOp::flush ? 0 : blocks * block_bytes;
    memory.assign(length, fill);
    piece = {memory.data(), memory.size()};
    data = std::span<const iovec>(&piece, 1);
    extents = &found;
    extents_max = 8;
    done = [](BlockRequest& request) noexcept { ++static_cast<Request&>(request).completed; };
  }
  [[nodiscard]] bool ok() const { return completed == 1 && status == BlockStatus::ok; }
  std::vector<std::byte> memory;
  iovec piece{};
  std::vector<BlockExtent> found;
  int completed = 0;
};

// A map with `count` paths, each usable from the start.
class MapWorld {
 public:
  explicit MapWorld(MapPolicy policy = {}, std::size_t count = 2, LuFacts facts = small_disk()) {
    map = std::make_unique<MapDevice>("mpatha", facts.wwid, facts, policy,
                                      MapDevice::Environment{clock, buffers, lines});
    for (std::size_t index = 0; index < count; ++index) {
      ports.push_back(std::make_unique<SimPort>(clock, disk));
      owners.push_back(std::make_unique<SimOwner>());
      ports.back()->log_in();
      paths.push_back(&map->attach(*ports.back(), {0}, *owners.back(), "p" + std::to_string(index), 1));
      map->set_usable(*paths.back(), true);
    }
    for (auto& port : ports) {
      for (auto& other : ports) {
        if (other != port) port->peers.push_back(other.get());
      }
    }
  }
  ~MapWorld() {
    // Every request must have an end: what still waits is failed, what is on the wire comes back.
    map->close([] {});
    for (std::size_t index = 0; index < ports.size(); ++index) {
      ports[index]->lose();
      map->set_usable(*paths[index], false);
    }
    clock.run_for(std::chrono::minutes(1));
    for (MapPath* path : paths) map->detach(*path);
  }

  void lose(std::size_t index, std::size_t executed = 0) {
    // As Path does it: the tasks come back first, then the path is taken out of use.
    ports[index]->lose(executed);
    map->set_usable(*paths[index], false);
  }
  void come_back(std::size_t index) {
    ports[index]->log_in();
    map->port_up(*paths[index]);
    map->set_usable(*paths[index], true);
  }
  void serve() {
    for (bool more = true; more;) {
      more = false;
      for (auto& port : ports) more = port->serve() != 0 || more;
    }
  }

  SimClock clock;
  BufferPool buffers;
  Lines lines;
  Disk disk;
  std::vector<std::unique_ptr<SimPort>> ports;
  std::vector<std::unique_ptr<SimOwner>> owners;
  std::unique_ptr<MapDevice> map;
  std::vector<MapPath*> paths;
};

}  // namespace mpath::test
