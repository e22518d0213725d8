// Hand-made snapshots, a daemon that only writes down what it is asked, and golden files, for the tests of the shell.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "mpathd/command.hpp"
#include "mpathd/map_control.hpp"

namespace mpath::shell_test {

[[nodiscard]] Snapshot no_maps();
[[nodiscard]] Snapshot one_map();     // two NICs, two good paths, an alias
[[nodiscard]] Snapshot three_maps();  // long names, a failed path, two groups, a map without a usable path, an orphan

class RecordingControl : public MapControl {
 public:
  Snapshot maps;
  DaemonState state{.pid = 4711};
  CommandOutcome outcome;          // the answer to everything that changes something
  std::vector<std::string> calls;  // "fail_path p1"

  awaitable<Snapshot> snapshot() override { co_return maps; }
  awaitable<DaemonState> daemon_state() override { co_return state; }
  awaitable<CommandOutcome> fail_path(std::string path) override { co_return note("fail_path", path); }
  awaitable<CommandOutcome> reinstate_path(std::string path) override { co_return note("reinstate_path", path); }
  awaitable<CommandOutcome> add_path(std::string path) override { co_return note("add_path", path); }
  awaitable<CommandOutcome> remove_path(std::string path) override { co_return note("remove_path", path); }
  awaitable<CommandOutcome> add_map(std::string map) override { co_return note("add_map", map); }
  awaitable<CommandOutcome> remove_map(std::string map) override { co_return note("remove_map", map); }
  awaitable<CommandOutcome> resize_map(std::string map) override { co_return note("resize_map", map); }
  awaitable<CommandOutcome> switch_group(std::string map, unsigned group) override {
    co_return note("switch_group", map + " " + std::to_string(group));
  }
  awaitable<CommandOutcome> disable_queueing(std::optional<std::string> map) override {
    co_return note("disable_queueing", map.value_or("all"));
  }
  awaitable<CommandOutcome> restore_queueing(std::optional<std::string> map) override {
    co_return note("restore_queueing", map.value_or("all"));
  }
  awaitable<CommandOutcome> reset_stats(std::optional<std::string> map) override {
    co_return note("reset_stats", map.value_or("all"));
  }
  awaitable<CommandOutcome> export_map(std::string map, ExportKind kind) override {
    co_return note("export_map", map + " " + std::string(word_of(kind)));
  }
  awaitable<CommandOutcome> unexport_map(std::string map, ExportKind kind) override {
    co_return note("unexport_map", map + " " + std::string(word_of(kind)));
  }
  awaitable<CommandOutcome> reconfigure() override { co_return note("reconfigure", ""); }
  awaitable<CommandOutcome> shutdown() override { co_return note("shutdown", ""); }

 private:
  CommandOutcome note(std::string_view verb, std::string_view object) {
    calls.push_back(std::string(verb) + (object.empty() ? "" : " ") + std::string(object));
    return outcome;
  }
};

// Runs one line to its end, on a loop of its own.
[[nodiscard]] CommandReply run_line(RecordingControl& control, std::string line,
                                    std::shared_ptr<const MultipathConfig> config = nullptr);
[[nodiscard]] CommandReply run_line(RecordingControl& control, CommandRequest request,
                                    std::shared_ptr<const MultipathConfig> config = nullptr);
[[nodiscard]] CommandReply run_level(RecordingControl& control, TopologyRequest request);

// What a terminal would show: prompt, command, reply, for each line.
[[nodiscard]] std::string transcript(RecordingControl& control, const std::vector<std::string>& lines,
                                     std::shared_ptr<const MultipathConfig> config = nullptr);

// The source tree: the nearest directory, from the working one upwards, that has tests/golden and man.
[[nodiscard]] std::filesystem::path source_directory();
[[nodiscard]] std::string page(const std::string& name);  // man/NAME

// Expects `text` to be tests/golden/NAME; UPDATE_GOLDEN=1 in the environment writes it instead.
void expect_golden(const std::string& name, const std::string& text);

}  // namespace mpath::shell_test
