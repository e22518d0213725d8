#include "target/mptargetctl_cluster.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "target/cluster/explain.hpp"
#include "target/cluster/status_json.hpp"
#include "target/cluster/status_text.hpp"

namespace mpath::target {
namespace {

using cluster::ClusterStatus;
using cluster::Decision;
using nlohmann::json;

constexpr std::chrono::milliseconds watch_interval{500};
constexpr std::string_view clear_screen = "\033[H\033[2J";

// Waits for the next look, or for the end: SIGINT and SIGTERM are blocked, so that one that comes during a question is
// seen here. True: it is over.
class Interrupts {
 public:
  Interrupts() {
    ::sigemptyset(&wanted_);
    ::sigaddset(&wanted_, SIGINT);
    ::sigaddset(&wanted_, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &wanted_, nullptr);
  }
  [[nodiscard]] bool wait_for(std::chrono::milliseconds time) const {
    const timespec limit{.tv_sec = time.count() / 1000, .tv_nsec = time.count() % 1000 * 1'000'000};
    return ::sigtimedwait(&wanted_, nullptr, &limit) > 0;
  }

 private:
  sigset_t wanted_{};
};

json ask_status(const Control& control) {
  return control.ask("cluster.status", json::object()).at("status");
}

std::string shown(const json& answer, const ClusterWords& words, bool as_json) {
  if (as_json) return answer.dump(2) + "\n";
  const ClusterStatus status = cluster::status_from_json(answer);
  return words.brief ? cluster::brief_text(status) : cluster::status_text(status);
}

// Without a terminal to paint on: a line whenever something became different.
class Follower {
 public:
  explicit Follower(bool as_json) : as_json_(as_json) {}

  void look(const json& answer) {
    std::string state = cluster::state_line(cluster::status_from_json(answer));
    if (state == last_) return;
    last_ = std::move(state);
    say(as_json_ ? answer.dump() : last_);
  }
  void lost(const std::string& why) {
    if (why == last_) return;
    last_ = why;
    say(as_json_ ? json{{"error", why}}.dump() : why);
  }

 private:
  void say(const std::string& line) const {
    const std::string time = cluster::format_local(std::chrono::system_clock::now());
    print(stdout, as_json_ ? line + "\n" : fmt::format("{}  {}\n", time, line));
    std::fflush(stdout);
  }
  bool as_json_;
  std::string last_;
};

// The daemon that goes away meanwhile is a thing to see, not the end.
void watch(const Control& control, const ClusterWords& words) {
  const Interrupts interrupts;
  const bool paints = ::isatty(STDOUT_FILENO) == 1 && !control.as_json;
  Follower follower(control.as_json);
  json answer = ask_status(control);
  std::string trouble;
  for (;;) {
    if (paints) {
      const std::string now = cluster::format_local(std::chrono::system_clock::now());
      print(stdout,
            fmt::format("{}{}\n{}", clear_screen, now, trouble.empty() ? shown(answer, words, false) : trouble + "\n"));
      std::fflush(stdout);
    } else if (trouble.empty()) {
      follower.look(answer);
    } else {
      follower.lost(trouble);
    }
    if (interrupts.wait_for(watch_interval)) return;
    try {
      answer = ask_status(control);
      trouble.clear();
    } catch (const Failure& failure) {
      trouble = failure.text;
    }
  }
}

// Nothing that overwrites data is done without a person's word.
void consent(const std::string& what, bool yes) {
  if (yes) return;
  if (::isatty(STDIN_FILENO) != 1)
    throw Failure{ExitCode::invalid_argument, what + "Nobody is there to be asked: --yes says that it is meant"};
  print(stderr, what + "Type yes to go on: ");
  std::string word;
  std::getline(std::cin, word);
  if (word != "yes") throw Failure{ExitCode::generic, "nothing was done"};
}

void init(const Control& control, const ClusterWords& words) {
  std::string question = "The data of THIS node's replicated units will be the pair's.\n";
  if (words.force) {
    question = "What was decided before will be given up, and this node's data will count.\n" +
               cluster::force_warning(cluster::status_from_json(ask_status(control))) +
               "Be sure that the other node does not serve.\n";
  }
  consent(question, words.yes);
  control.change("cluster.init", {{"force", words.force}});
}

void join(const Control& control, bool yes) {
  consent("EVERYTHING on this node's replicated units will be overwritten with the other node's data.\n", yes);
  control.change("cluster.join", json::object());
}

void discard(const Control& control, bool yes) {
  consent("EVERYTHING that only this node has written since the split will be lost: the other node's data counts.\n",
          yes);
  control.change("cluster.discard", json::object());
}

std::vector<Decision> decisions(const Control& control, std::size_t most) {
  json args = json::object();
  if (most != 0) args["most"] = most;
  std::vector<Decision> all;
  const json answer = control.ask("cluster.log", args);
  for (const json& line : answer.at("decisions")) all.push_back(cluster::decision_from_json(line));
  return all;
}

void add_status(CLI::App& pair, const Control& control, ClusterWords& words) {
  CLI::App* status = pair.add_subcommand("status", "Who serves, members, links, and the state of each copy");
  status->add_flag("--watch", words.watch, "again and again; without a terminal a line whenever something changes");
  status->add_flag("--brief", words.brief, "two lines a unit, as /proc/drbd has them");
  status->callback([&] {
    if (words.watch) return watch(control, words);
    print(stdout, shown(ask_status(control), words, control.as_json));
  });
}

void add_roles(CLI::App& pair, const Control& control, ClusterWords& words) {
  CLI::App* first = pair.add_subcommand("init", "Begin: this node's data is the pair's");
  first->add_flag("--yes", words.yes, "do not ask");
  first->add_flag("--force", words.force,
                  "although something was decided before: what only the other node has is lost");
  first->callback([&] { init(control, words); });
  CLI::App* second = pair.add_subcommand("join", "Be the second node: this node's data is overwritten");
  second->add_flag("--yes", words.yes, "do not ask");
  second->callback([&] { join(control, words.yes); });
  pair.add_subcommand("switchover", "Let the node serve that does not, said on either")->callback([&] {
    control.change("cluster.switchover", json::object());
  });
  const auto add_switch = [&](const std::string& word, const char* doc) {
    CLI::App* command = pair.add_subcommand(word, doc);
    command->add_option("STATE", words.on_or_off, "on or off")->required()->check(CLI::IsMember({"on", "off"}));
    command->callback([&, word] { control.change("cluster." + word, {{"on", words.on_or_off == "on"}}); });
  };
  add_switch("maintenance", "on: no takeover and no fail-back by itself");
  add_switch("standby", "on: this node gives service away, and does not take over by itself");
}

void add_copies(CLI::App& pair, const Control& control, ClusterWords& words) {
  struct Word {
    const char* word;
    const char* doc;
  };
  static constexpr Word plain[] = {{"connect", "Make the connection between the copies again"},
                                   {"disconnect", "Close it, and leave it closed"},
                                   {"invalidate", "Give this node's copy up, and fill it anew"},
                                   {"resync", "Look again at all that may differ"},
                                   {"verify", "Compare the copies block by block"}};
  for (const Word& each : plain) {
    CLI::App* word = pair.add_subcommand(each.word, each.doc);
    word->add_option("LU", words.units, "units; all when none is named");
    const std::string verb = each.word;
    if (verb == "verify") word->add_flag("--repair", words.repair, "copy what differs from the node that serves");
    if (verb == "connect") {
      word->add_flag("--discard-my-data", words.discard, "after a split: the other node's data counts");
      word->add_flag("--yes", words.yes, "do not ask");
    }
    word->callback([&, verb] {
      if (verb == "connect" && words.discard) return discard(control, words.yes);
      json args{{"lus", words.units}};
      if (verb == "verify") args["repair"] = words.repair;
      control.change("cluster." + verb, args);
    });
  }
}

void add_history(CLI::App& app, CLI::App& pair, const Control& control, ClusterWords& words) {
  CLI::App* log = pair.add_subcommand("log", "What this node saw and decided");
  log->add_option("--last", words.last, "only the latest N lines")->type_name("N");
  log->callback([&] {
    const auto lines = decisions(control, words.last);
    if (!control.as_json) return print(stdout, cluster::log_text(lines));
    for (const Decision& line : lines) print(stdout, cluster::to_json(line).dump() + "\n");
  });
  CLI::App* explain = app.add_subcommand("explain", "Tell why each takeover of the pair happened");
  explain->add_option("--last", words.last, "only the latest N takeovers")->type_name("N");
  explain->callback([&] { print(stdout, cluster::explain_text(decisions(control, 0), words.last)); });
  CLI::App* what_if = app.add_subcommand("what-if", "Tell what would happen to the pair now");
  what_if->add_option("EVENT", words.event, "node-a-dies, node-b-dies, witness-dies or links-cut")->required();
  what_if->callback([&] {
    const json answer = control.ask("cluster.what_if", {{"event", words.event}});
    if (control.as_json) return print(stdout, answer.dump(2) + "\n");
    for (const json& line : answer.at("lines")) print(stdout, line.get<std::string>() + "\n");
  });
}

}  // namespace

void add_cluster_words(CLI::App& app, const Control& control, ClusterWords& words) {
  CLI::App* pair = app.add_subcommand("cluster", "The fail-over pair")->require_subcommand(1);
  add_status(*pair, control, words);
  add_roles(*pair, control, words);
  add_copies(*pair, control, words);
  add_history(app, *pair, control, words);
}

}  // namespace mpath::target
