// mpathadm: words in, one command carried out, exit code out. Also runs under the name iscsiadm.
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <iostream>
#include <memory>

#include "base/layout.hpp"
#include "db/iscsid_conf.hpp"
#include "initiator/initiator_name.hpp"
#include "initiator/mpathadm_context.hpp"
#include "initiator/mpathadm_discoverer.hpp"
#include "initiator/mpathadm_parse.hpp"
#include "initiator/mpathadm_run.hpp"
#include "initiator/session_preparation.hpp"

namespace mpath::adm {
namespace {

// Errors carry the name that scripts know, when they called by it.
std::string program_name(std::string_view invoked) {
  const std::string_view name = invoked.substr(invoked.rfind('/') + 1);
  return name == "iscsiadm" ? "iscsiadm" : "mpathadm";
}

// iscsid.conf and the database, each read at first use.
class Records {
 public:
  Records(const Layout& layout, Console& console) : layout_(layout), console_(console) {}

  Outcome<db::Settings> conf() {
    if (!conf_) {
      auto read = db::read_iscsid_conf(layout_.iscsid_conf());
      if (!read) return std::unexpected(store_failure(read.error(), fmt::format("Could not read {}", layout_.iscsid_conf().string())));
      for (const auto& problem : read->problems) {
        if (problem.severity == ConfigProblem::Severity::error) console_.error(problem.text());
      }
      conf_ = std::move(read->record_defaults);
    }
    return *conf_;
  }

  Outcome<db::Store*> store() {
    if (!store_) {
      auto defaults = conf();
      if (!defaults) return std::unexpected(defaults.error());
      auto opened = db::Store::open(layout_.database(), std::move(*defaults));
      if (!opened) return std::unexpected(store_failure(opened.error(), fmt::format("Could not open {}", layout_.database().string())));
      store_ = std::move(*opened);
    }
    return store_.get();
  }

 private:
  const Layout& layout_;
  Console& console_;
  std::optional<db::Settings> conf_;
  std::unique_ptr<db::Store> store_;
};

Outcome<std::string> initiator_name(const Layout& layout) {
  auto name = load_initiator_name(layout.initiator_name());
  if (name) return std::move(*name);
  const bool bad = name.error() == std::errc::invalid_argument;
  return std::unexpected(Failure{bad ? ExitCode::invalid_argument : ExitCode::generic,
                                 fmt::format("{}: {}", layout.initiator_name().string(), bad ? "no valid InitiatorName line" : name.error().message())});
}

ExitCode run_command(const CommandLine& line, Console& console) {
  const Layout layout = make_layout(line.root);
  const auto daemon = connect_daemon(layout.control_socket());
  Records records(layout, console);
  Context context{.layout = layout,
                  .console = console,
                  .daemon = *daemon,
                  .discover = ask_portal,
                  .store = [&] { return records.store(); },
                  .conf = [&] { return records.conf(); },
                  .initiator_name = [&] { return initiator_name(layout); },
                  .version = MPATHD_VERSION,
                  .resolve = [](const std::string& host) { return numeric_addresses(host, "").value_or(std::vector<std::string>()); }};
  return run(context, line);
}

int run_main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a listing that nobody reads to its end is no failure
  const std::vector<std::string> words(argv, argv + argc);
  Console console(std::cout, std::cerr, program_name(words.empty() ? "" : words[0]), ::isatty(STDERR_FILENO) == 1);
  const auto line = parse(words);
  if (!line) {
    console.error(line.error().line);
    if (line.error().offer_help) std::cerr << fmt::format("Try `{} --help' for more information.\n", console.program());
    return static_cast<int>(line.error().code);
  }
  const ExitCode code = run_command(*line, console);
  console.clear_progress();
  return static_cast<int>(code);
}

}  // namespace
}  // namespace mpath::adm

int main(int argc, char** argv) {
  try {
    return mpath::adm::run_main(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "mpathadm: " << error.what() << '\n';
    return static_cast<int>(mpath::ExitCode::internal);
  }
}
