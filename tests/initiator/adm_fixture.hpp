// mpathadm without a daemon and without a network: a real store in a directory of its own, a daemon that is a list of
// sessions, a portal that says what it is told to. `adm("-m node ...")` runs a line; `out`, `err` and the code come back.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/layout.hpp"
#include "db/store.hpp"
#include "initiator/mpathadm_context.hpp"
#include "initiator/mpathadm_parse.hpp"
#include "initiator/mpathadm_run.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath::adm {

class FakeDaemon final : public Daemon {
 public:
  bool running = true;
  std::map<std::string, ExitCode> refuse;  // by address of the portal
  std::vector<SessionReport> list;
  std::vector<Login> logins;               // what was asked

  Outcome<std::vector<SessionOutcome>> log_in(const Login& login) override {
    if (!running) return absent();
    logins.push_back(login);
    std::vector<SessionOutcome> outcomes;
    for (const auto& key : login.nodes) {
      SessionOutcome outcome{.node = key};
      const bool here = std::ranges::any_of(list, [&](const SessionReport& session) { return session.node == key; });
      if (here && !login.additional) {
        outcome.code = ExitCode::session_exists;
        outcome.text = key.iface + ": 1 session requested, but 1 already present.";
      } else if (const auto at = refuse.find(key.address); at != refuse.end()) {
        outcome.code = at->second;
        outcome.text = "the fake said so";
      } else {
        outcome.sid = add(key).sid;
      }
      outcomes.push_back(std::move(outcome));
    }
    return outcomes;
  }
  Outcome<std::vector<SessionOutcome>> log_out(std::span<const unsigned> sids) override {
    if (!running) return absent();
    std::vector<SessionOutcome> outcomes;
    for (const unsigned sid : sids) {
      const auto at = std::ranges::find(list, sid, &SessionReport::sid);
      if (at == list.end()) return std::unexpected(Failure{ExitCode::session_not_found, "no such session"});
      SessionOutcome outcome{.node = at->node, .sid = sid};
      if (const auto bad = refuse.find(at->node.address); bad != refuse.end()) outcome.code = bad->second;
      if (outcome.code == ExitCode::success) list.erase(at);
      outcomes.push_back(std::move(outcome));
    }
    return outcomes;
  }
  Outcome<std::vector<SessionReport>> sessions() override {
    if (!running) return absent();
    return list;
  }
  Outcome<std::vector<SessionOutcome>> rescan(unsigned sid) override {
    if (!running) return absent();
    return std::vector<SessionOutcome>{{.node = std::ranges::find(list, sid, &SessionReport::sid)->node, .sid = sid}};
  }
  Outcome<void> stop() override {
    if (!running) return absent();
    running = false;
    return {};
  }

  SessionReport& add(const db::NodeKey& key) {
    SessionReport report;
    report.sid = ++last_sid_;
    report.node = key;
    report.phase = SessionPhase::logged_in;
    report.established = true;
    report.current_address = key.address;
    list.push_back(report);
    return list.back();
  }

 private:
  static std::unexpected<Failure> absent() {
    return std::unexpected(Failure{ExitCode::daemon_unreachable, "cannot connect to mpathd at /run/mpathd/mpathd.sock: No such file or directory"});
  }
  unsigned last_sid_ = 0;
};

struct Ran {
  ExitCode code = ExitCode::success;
  std::string out;
  std::string err;
};

class AdmTest : public testing::Test {
 protected:
  Outcome<db::Store*> store() {
    if (!store_) {
      auto opened = db::Store::open(layout_.database(), conf_);
      if (!opened) return std::unexpected(store_failure(opened.error(), "Could not open " + layout_.database().string()));
      store_ = std::move(*opened);
    }
    return store_.get();
  }

  Ran run_words(const std::vector<std::string>& words) {
    std::ostringstream out, err;
    Console console(out, err, "mpathadm");
    const auto line = parse(words);
    if (!line) {
      console.error(line.error().line);
      return {line.error().code, out.str(), err.str()};
    }
    Context context{.layout = layout_,
                    .console = console,
                    .daemon = daemon_,
                    .discover = [this](const DiscoveryRequest& request) { return discover_(request); },
                    .store = [this] { return store(); },
                    .conf = [this]() -> Outcome<db::Settings> { return conf_; },
                    .initiator_name = []() -> Outcome<std::string> { return "iqn.2026-11.example:me"; },
                    .version = "9.9",
                    .resolve = [this](const std::string& host) { return hosts_[host]; }};
    const ExitCode code = run(context, *line);
    return {code, out.str(), err.str()};
  }

  // Splits at blanks.
  Ran adm(const std::string& line) {
    std::vector<std::string> words{"mpathadm"};
    std::istringstream in(line);
    for (std::string word; in >> word;) words.push_back(word);
    return run_words(words);
  }

  const test::TemporaryDirectory root_;
  Layout layout_{root_.path()};
  db::Settings conf_;
  FakeDaemon daemon_;
  std::map<std::string, std::vector<std::string>> hosts_;
  Discover discover_ = [](const DiscoveryRequest&) -> Outcome<std::vector<db::NodeAddress>> { return std::vector<db::NodeAddress>(); };
  std::unique_ptr<db::Store> store_;
};

}  // namespace mpath::adm
