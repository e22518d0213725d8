// One line of the multipathd grammar, from text to reply.
//
// Threads:  the control thread.
// Replies:  what is shown, or "ok"; a failure is "fail", then a line that says why, and code 1.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "mpathd/map_control.hpp"
#include "mpathd/multipath_config.hpp"

namespace mpath {

struct CommandRequest {
  std::string line;
  bool tty = false;         // the reply goes to a terminal: bold is welcome
  bool privileged = true;   // may change things; anybody may show
};

struct CommandReply {
  std::string text;  // complete lines
  int code = 0;      // the exit status of mpathctl
};

// mpathctl -l and -ll.
struct TopologyRequest {
  enum class Level : std::uint8_t { brief, full } level = Level::full;
  std::optional<std::string> map;  // name, WWID or export; none: all
  bool tty = false;
  bool json = false;
};

// `control` is borrowed until completion; `config` are the settings in force when the command came. Never throws.
[[nodiscard]] boost::asio::awaitable<CommandReply> run_command(CommandRequest request, MapControl& control,
                                                               std::shared_ptr<const MultipathConfig> config);

// Without maps the text is empty. A map that is not there is a failure.
[[nodiscard]] boost::asio::awaitable<CommandReply> run_topology(TopologyRequest request, MapControl& control);

}  // namespace mpath
