// The parts of a MapDevice that its source files share. Nobody else includes this.
#pragma once

#include "mpathd/map_device.hpp"
#include "wire/scsi_data.hpp"

namespace mpath {

inline constexpr std::uint32_t commands_out_max = 16;         // of one request at a time
inline constexpr std::uint64_t transfer_bytes_max = 1 << 20;  // of one READ or WRITE
inline constexpr unsigned retries_max = 5;                    // answers that say "not carried out", for one command
inline constexpr auto lengthy_limit = std::chrono::minutes(30);  // of SCSI commands that may take their time
inline constexpr auto busy_pause = std::chrono::milliseconds(20);
inline constexpr auto fence_pause = std::chrono::milliseconds(100);
inline constexpr auto demotion_grace = std::chrono::milliseconds(200);  // to answer what was sent before

// One request of the caller while it is worked on.
struct MapDevice::Io {
  Io* next = nullptr;
  MapDevice* map = nullptr;
  BlockRequest* request = nullptr;
  ScsiRequest* scsi = nullptr;  // instead: a command as it came
  std::uint64_t cursor = 0;  // bytes of the request that commands were made for
  std::uint32_t commands_out = 0;
  BlockStatus status = BlockStatus::ok;
  bool flushing = false;  // the FUA that the command itself cannot carry
  bool restart = false;   // the target refused the command we chose: begin anew with another
  bool advancing = false;
};

// One SCSI command of an Io.
struct MapDevice::Command : ScsiTask {
  Command* queue_next = nullptr;  // backlog, pause, fence, slab
  Command* path_next = nullptr;   // in flight on `path`
  Command* path_previous = nullptr;
  Io* io = nullptr;
  MapPath* path = nullptr;
  std::uint64_t generation = 0;  // of the port when it was sent
  unsigned retries = 0;
  bool changes_medium = false;
  bool fenced = false;  // a LOGICAL UNIT RESET has ended it already
  bool spent = false;   // it was lost, and is not one to be sent again
  bool pinned = false;  // for the path `only`, and no other
  MapPath* only = nullptr;  // none any more: it left
  std::array<iovec, 4> few{};
  std::vector<iovec> many;  // keeps its capacity
  Buffer own;               // parameter data of ours
};

// One path as the map holds it.
class MapPath {
 public:
  using Command = MapDevice::Command;

  ScsiPort* port = nullptr;       // null once detached
  MapPathOwner* owner = nullptr;  // null once detached
  scsi::Lun lun;
  std::string label;
  int priority = 1;
  bool usable = false;
  bool pending = false;
  bool registering = false;                   // it will be usable once the host's reservation key is registered through it
  std::optional<std::uint64_t> registered;    // generation of the port when it was
  bool standby = false;                     // connected, and its port group does not serve now
  std::optional<std::uint16_t> port_group;  // of ALUA
  std::optional<scsi::PortGroup> told;      // the last that is known of it
  PathCounters counters;

  Command* in_flight_first = nullptr;
  std::uint32_t in_flight = 0;
  std::uint64_t in_flight_bytes = 0;

  // What was lost here and may still run: it waits until that is impossible.
  IntrusiveQueue<Command, &Command::queue_next> unfenced;
  bool ghosts = false;  // some of it was given up to the caller: overlapping writes must wait as well
  bool fencing = false;
  bool fence_running = false;  // a fence call of a helper port is under way
  std::uint64_t lost_generation = 0;
  std::uint64_t loss = 0;  // number of its last loss, of those of the map
  TimePoint fence_since{};
  std::unique_ptr<Alarm> fence_alarm;
  std::unique_ptr<Alarm> grace_alarm;  // of a path whose group was replaced

  [[nodiscard]] bool unused() const { return in_flight == 0 && !fencing && !fence_running; }
  void link(Command& command);
  void unlink(Command& command);
};

// What the host has registered, and the work that follows from it.
struct MapDevice::Reservations {
  enum class StepKind : std::uint8_t { host, read_keys, registration, release };
  struct Step : ScsiRequest {
    MapDevice* map = nullptr;
  };
  struct Work {
    ScsiRequest* host = nullptr;  // a PERSISTENT RESERVE OUT of the host,
    MapPath* path = nullptr;      // or a path that came back
  };
  std::optional<std::uint64_t> key;
  bool aptpl = false;

  std::vector<Work> work;
  bool busy = false;
  Work current;
  Step step;
  StepKind step_kind = StepKind::host;
  MapPath* carrier = nullptr;    // of the last SCSI command that was answered
  Command* command = nullptr;    // of a step for one path
  std::vector<MapPath*> others;  // where it is to be said as well
  StepKind others_step = StepKind::registration;
  scsi::Bytes buffer;
  iovec piece{};
};

struct MapDevice::Pools {
  Slab<Io, &Io::next> ios;
  Slab<Command, &Command::queue_next> commands;
  IntrusiveQueue<Command, &Command::queue_next> backlog;  // wait for a path or for room
  IntrusiveQueue<Command, &Command::queue_next> paused;   // wait for a busy target
};

}  // namespace mpath
