// One path: a LUN behind a nexus. Carries out what path_state.hpp decides: identifies the LU, checks it, tells the map
// when it may be used, and what the target says of its port groups.
//
// Threads:   the shard of its port.
// Ownership: port, host, clock and buffers are borrowed. May be destroyed only while nothing of its own is on the wire:
//            see idle().
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/buffer_pool.hpp"
#include "base/clock.hpp"
#include "initiator/scsi_port.hpp"
#include "mpathd/identification.hpp"
#include "mpathd/map_device.hpp"
#include "mpathd/path_state.hpp"

namespace mpath {

class Path;

// Sorts paths into maps.
class PathHost {
 public:
  virtual ~PathHost() = default;
  // The LU was read. The host answers now or later with accept() (usable in its map, or in standby there) or refuse().
  // A path in standby may not know the capacity: see sized().
  virtual void on_identified(Path& path, const LuFacts& facts) = 0;
  virtual void on_not_a_disk(Path& path) = 0;
  // It carries another LU than its map's: take it out of the map; it will be identified again.
  virtual void on_foreign(Path& path) = 0;
  // The state changed; one line for the log.
  virtual void on_path_line(const std::string& line, bool warning) = 0;
};

// Where it stands, for show.
struct PathIdentity {
  std::string device;  // its name with us
  unsigned sid = 0;
  std::string target_name, initiator_name;
  std::string portal;  // address:port,tpgt
  std::string iface, net_ifacename;
};

class Path final : public MapPathOwner {
 public:
  Path(ScsiPort& port, scsi::Lun lun, PathIdentity identity, PathHost& host, Clock& clock, BufferPool& buffers);
  ~Path() override;
  Path(const Path&) = delete;
  Path& operator=(const Path&) = delete;

  // What happened below and above.
  void port_up();
  void port_down();
  void operator_fail() { apply({PathEventKind::operator_fail}); }
  void operator_reinstate() { apply({PathEventKind::operator_reinstate}); }
  void identify_again();  // by the administrator (resize), as after a unit attention
  void accept();          // the host: it is in the right map, use it
  void refuse(CheckerState how, const std::string& why);
  void sorted_anew() { apply({PathEventKind::sorted_anew}); }  // after on_foreign(): belongs nowhere now
  void note_foreign() { apply({PathEventKind::identity_other}); }

  void set_map(MapDevice* map, MapPath* entry, CheckerKind checker, const PathTiming& timing, Duration checker_timeout);
  void update_iface(const std::string& net_ifacename) { identity_.net_ifacename = net_ifacename; }

  // MapPathOwner
  void on_command_bad(CheckerState how, bool by_access) override {
    apply({PathEventKind::command_bad, how, by_access});
  }
  void on_look_wanted() override;
  void on_unit_attention(const scsi::Sense& sense, bool reread_identity) override;
  [[nodiscard]] PathSnapshot path_snapshot() const override;

  [[nodiscard]] const std::string& device() const { return identity_.device; }
  [[nodiscard]] scsi::Lun lun() const { return lun_; }
  [[nodiscard]] const std::string& target_name() const { return identity_.target_name; }
  [[nodiscard]] ScsiPort& port() const { return port_; }
  [[nodiscard]] MapDevice* map() const { return map_; }
  [[nodiscard]] MapPath* map_path() const { return map_path_; }
  [[nodiscard]] const std::optional<LuFacts>& facts() const { return facts_; }
  [[nodiscard]] bool sized() const { return sized_; }
  [[nodiscard]] bool serves() const { return access_ == CheckerState::ready; }  // by its identification
  [[nodiscard]] const PathState& state() const { return state_; }
  [[nodiscard]] bool idle() const { return !probe_.busy; }
  [[nodiscard]] bool held() const { return std::holds_alternative<PathHeld>(state_); }

 private:
  enum class Purpose : std::uint8_t { identify, check, groups };
  struct Probe : ScsiTask {
    Path* path = nullptr;
    bool busy = false;
    Purpose purpose = Purpose::check;
    std::uint64_t round = 0;   // of the identification it belongs to
    std::uint64_t losses = 0;  // of the map when it was sent
    iovec piece{};
    Buffer buffer;
  };

  void apply(const PathEvent& event);
  [[nodiscard]] bool old_news(const PathState& before);
  void act(PathAction action);
  void start_identification();
  void ask_next();
  void start_check();
  void start_look();
  void ask_groups();
  void not_sent();
  [[nodiscard]] bool send(Purpose purpose, const scsi::Cdb& cdb, std::uint32_t length);
  static void on_probe_done(ScsiTask& task) noexcept;
  void on_probe_answer(Purpose purpose, bool current);
  void on_check_answer();
  void on_groups_answer(std::span<const std::byte> data);
  void check_again();
  void tell_groups(const scsi::PortGroupReport& report, std::uint64_t losses);
  void conclude();
  void take_facts(const Identification::Outcome& outcome);

  ScsiPort& port_;
  const scsi::Lun lun_;
  PathIdentity identity_;
  PathHost& host_;
  Clock& clock_;
  BufferPool& buffers_;

  PathState state_ = PathDown{};
  PathTiming timing_;
  CheckerKind checker_ = CheckerKind::tur;
  Duration checker_timeout_ = std::chrono::seconds(30);
  std::unique_ptr<Alarm> alarm_;

  Probe probe_;
  std::optional<Identification> identification_;
  std::uint64_t round_ = 0;
  std::uint64_t round_losses_ = 0;  // of the map when the identification began
  unsigned check_attentions_ = 0;
  bool look_pending_ = false;                  // another probe is on the wire
  std::optional<LuFacts> facts_;               // as read last
  bool sized_ = false;                         // with the capacity and what comes after it
  CheckerState access_ = CheckerState::ready;  // of the identification: ready, ghost, pending
  std::optional<std::uint16_t> port_group_;
  std::optional<scsi::PortGroupReport> report_;  // of the identification
  bool extended_report_ = true;

  MapDevice* map_ = nullptr;
  MapPath* map_path_ = nullptr;
  std::string trouble_;  // why it is faulty
  std::string told_;     // ... as the log has it
};

}  // namespace mpath
