// mpathctl's side of the control socket: one command, one answer.
#pragma once

#include <chrono>
#include <expected>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "mpathd/command.hpp"

namespace mpath {

class MpathctlClient {
 public:
  MpathctlClient(std::filesystem::path socket, std::chrono::milliseconds timeout);

  // Blocking. When the daemon cannot be asked the failure is one line for stderr.
  [[nodiscard]] std::expected<CommandReply, std::string> command(const std::string& line, bool tty) const;
  [[nodiscard]] std::expected<CommandReply, std::string> topology(const TopologyRequest& request) const;

 private:
  std::filesystem::path socket_;
  std::chrono::milliseconds timeout_;
};

// A failure taken apart: "fail\nmap or partition in use\n" is {"fail\n", "map or partition in use"}. Anything else has no
// reason and is shown as it is.
struct ShownReply {
  std::string text;
  std::string reason;
};
[[nodiscard]] ShownReply take_apart(const CommandReply& reply);

}  // namespace mpath
