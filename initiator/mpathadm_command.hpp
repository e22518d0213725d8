// What a line of mpathadm asks for, after the grammar and before any record is looked at.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace mpath::adm {

// -o may be given several times: the words add up.
enum class Op : std::uint16_t {
  none = 0,
  create = 1,  // "new"
  remove = 2,  // "delete"
  update = 4,
  show = 8,
  nonpersistent = 16,
  apply = 32,
  applyall = 64,
  login = 128,
  logout = 256,
};

class Ops {
 public:
  Ops() = default;
  Ops(Op op) : bits_(static_cast<std::uint16_t>(op)) {}  // NOLINT: an Op is a set of one
  void add(Op op) { bits_ = static_cast<std::uint16_t>(bits_ | static_cast<std::uint16_t>(op)); }
  [[nodiscard]] bool has(Op op) const { return (bits_ & static_cast<std::uint16_t>(op)) != 0; }
  [[nodiscard]] bool only(Op op) const { return bits_ == static_cast<std::uint16_t>(op); }
  [[nodiscard]] bool empty() const { return bits_ == 0; }
  [[nodiscard]] bool show_or_none() const { return empty() || only(Op::show); }
  friend bool operator==(const Ops&, const Ops&) = default;

 private:
  std::uint16_t bits_ = 0;
};

struct PortalArgument {
  std::string address;                // no brackets: numeric, or a host name
  std::optional<std::uint16_t> port;  // absent: the default of what it is used for
  std::optional<int> tpgt;
  friend bool operator==(const PortalArgument&, const PortalArgument&) = default;
};

struct Assignment {  // a pair of -n and -v
  std::string name;
  std::string value;
  friend bool operator==(const Assignment&, const Assignment&) = default;
};

enum class DiscoveryType : std::uint8_t { sendtargets, isns, firmware };
enum class Group : std::uint8_t { all, automatic, manual, onboot };  // of -L and -U
[[nodiscard]] std::string_view to_word(Group group);

struct DiscoveryCommand {
  bool database = false;              // mode discoverydb
  std::optional<DiscoveryType> type;  // absent also for a type that is not known
  std::optional<PortalArgument> portal;
  std::vector<std::string> ifaces;
  Ops ops;
  std::vector<Assignment> assignments;
  bool discover = false;
  bool login = false;
};

enum class NodeAction : std::uint8_t { create, rescan, stats, list, login, logout, show, update, remove, login_all, logout_all };

struct NodeCommand {
  NodeAction action = NodeAction::list;
  std::string target;  // empty: any
  std::optional<PortalArgument> portal;
  std::optional<std::string> iface;
  std::vector<Assignment> assignments;
  Group group = Group::all;
};

enum class SessionAction : std::uint8_t { list, show, clone, rescan, stats, logout, update, remove };

struct SessionCommand {
  SessionAction action = SessionAction::list;
  std::optional<unsigned> sid;
  std::vector<Assignment> assignments;
};

enum class IfaceAction : std::uint8_t { list, show, create, update, remove };

struct IfaceCommand {
  IfaceAction action = IfaceAction::list;
  std::optional<std::string> name;
  std::vector<Assignment> assignments;
};

// What needs hardware that a user-space initiator does not have; `what` names it.
struct UnsupportedCommand {
  std::string what;
};
// What the machine was told to boot from.
struct FirmwareCommand {
  bool login = false;
};
struct HostCommand {};
struct StopDaemonCommand {};  // -k 0
struct HelpCommand {};
struct VersionCommand {};

using Command = std::variant<DiscoveryCommand, NodeCommand, SessionCommand, IfaceCommand, UnsupportedCommand, FirmwareCommand,
                             HostCommand, StopDaemonCommand, HelpCommand, VersionCommand>;

struct CommandLine {
  Command command;
  int print_level = 0;  // -P
  int debug_level = 0;  // -d
  bool wait = true;     // no -W
  bool show_secrets = false;
  bool json = false;
  std::filesystem::path root;  // empty: MPATHD_ROOT, or /
};

}  // namespace mpath::adm
