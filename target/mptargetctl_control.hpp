// How the words of mptargetctl reach the daemon, and how it ends when they do not.
#pragma once

#include <chrono>
#include <cstdio>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/exit_codes.hpp"
#include "base/layout.hpp"

namespace mpath::target {

// Thrown by what a word does; main prints the text and exits with the code.
struct Failure {
  ExitCode code;
  std::string text;
};

void print(std::FILE* stream, std::string_view text);

class Control {
 public:
  std::string root;
  bool as_json = false;

  [[nodiscard]] Layout layout() const { return make_layout(root); }

  // Throws Failure with what the daemon, or the way to it, has to say.
  [[nodiscard]] nlohmann::json ask(const std::string& verb, const nlohmann::json& args) const;
  // Silent when all is well, as a command that changes things should be.
  void change(const std::string& verb, const nlohmann::json& args) const;
  void show(const std::string& what, std::string (*text)(const nlohmann::json&)) const;
};

}  // namespace mpath::target
