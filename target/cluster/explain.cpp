#include "target/cluster/explain.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <optional>
#include <vector>

namespace mpath::target::cluster {
namespace {

using std::chrono::milliseconds;

// What led to a takeover is close before it.
constexpr std::chrono::seconds before_it{60};
constexpr std::size_t lines_before_max = 10;

// A change of the primary: the line that tells of it, and who it was before, if the log knows.
struct Takeover {
  std::size_t line = 0;
  std::optional<Member> from;
};

std::vector<Takeover> takeovers(std::span<const Decision> decisions) {
  std::vector<Takeover> found;
  const View* last = nullptr;
  for (std::size_t at = 0; at < decisions.size(); ++at) {
    const View& view = decisions[at].view;
    if (view.number == 0 || (last != nullptr && view.number <= last->number)) continue;
    if (last == nullptr ? view.number == 1 : view.primary != last->primary)
      found.push_back({at, last == nullptr ? std::nullopt : std::optional(last->primary)});
    last = &view;
  }
  return found;
}

std::string in_sync_text(const View& view) {
  return view.in_sync.size() == 2 ? "both in sync" : fmt::format("only {} in sync", name(view.primary));
}

std::string time_of_day(std::chrono::system_clock::time_point at) {
  return format_local(at).substr(11);
}

std::string told(std::span<const Decision> decisions, const Takeover& takeover, std::size_t next) {
  const Decision& line = decisions[takeover.line];
  std::string text = fmt::format(
      "{}  view {}: node {} {}, {}\n  why: {}\n", format_local(line.at), line.view.number, name(line.view.primary),
      takeover.from ? fmt::format("took over from node {}", name(*takeover.from)) : "was the first to serve",
      in_sync_text(line.view), line.what);
  std::size_t first = takeover.line;
  while (first > 0 && takeover.line - first < lines_before_max && line.at - decisions[first - 1].at <= before_it)
    --first;
  if (first < takeover.line) text += "  before it:\n";
  for (std::size_t at = first; at < takeover.line; ++at)
    text += fmt::format("    {}  {}\n", time_of_day(decisions[at].at), decisions[at].what);
  // The next view with the same primary says what became of the other.
  for (std::size_t at = takeover.line + 1; at < next; ++at) {
    if (decisions[at].view.number <= line.view.number) continue;
    text += fmt::format("  after it:\n    {}  view {}, {}: {}\n", time_of_day(decisions[at].at),
                        decisions[at].view.number, in_sync_text(decisions[at].view), decisions[at].what);
    break;
  }
  return text;
}

}  // namespace

std::string explain_text(std::span<const Decision> decisions, std::size_t most) {
  if (decisions.empty()) return "The decision log is empty.\n";
  const std::vector<Takeover> found = takeovers(decisions);
  if (found.empty())
    return fmt::format("No takeover since {}, where the decision log begins.\n", format_local(decisions.front().at));
  const std::size_t skipped = most == 0 ? 0 : found.size() - std::min(most, found.size());
  std::string text;
  for (std::size_t at = skipped; at < found.size(); ++at)
    text += (at > skipped ? "\n" : "") +
            told(decisions, found[at], at + 1 < found.size() ? found[at + 1].line : decisions.size());
  return text;
}

std::string log_text(std::span<const Decision> decisions) {
  std::string text;
  for (const Decision& decision : decisions)
    text += fmt::format("{}  view {}  {}\n", format_local(decision.at), decision.view.number, decision.what);
  return text;
}

std::string format_local(std::chrono::system_clock::time_point at) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(at);
  const auto ms = std::chrono::duration_cast<milliseconds>(at - seconds).count();
  const std::time_t whole = std::chrono::system_clock::to_time_t(seconds);
  std::tm local{};
  ::localtime_r(&whole, &local);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03}", local.tm_year + 1900, local.tm_mon + 1, local.tm_mday,
                     local.tm_hour, local.tm_min, local.tm_sec, ms);
}

}  // namespace mpath::target::cluster
