#include "target/cluster/decision_log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/atomic_file.hpp"
#include "target/cluster/status_json.hpp"

namespace mpath::target::cluster {
namespace {

using nlohmann::json;

constexpr std::size_t line_bytes_max = 4096;
constexpr std::size_t file_bytes_max = (DecisionLog::lines_max + 1) * (line_bytes_max + 512);

std::string line_of(const Decision& decision) {
  return to_json(decision).dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

DecisionLog::DecisionLog(std::filesystem::path file, WallClock now) : file_(std::move(file)), now_(std::move(now)) {
  read(older());
  const std::size_t before = lines_.size();
  read(file_);
  in_file_ = lines_.size() - before;
  while (lines_.size() > lines_max) lines_.pop_front();
  open();
}

void DecisionLog::add(const View& view, std::string what) {
  if (what.size() > line_bytes_max) what.resize(line_bytes_max);
  lines_.push_back({.at = now_(), .view = view, .what = std::move(what)});
  if (lines_.size() > lines_max) lines_.pop_front();
  if (in_file_ >= lines_max) rotate();
  if (!fd_) return;
  const std::string line = line_of(lines_.back());
  const ssize_t written = ::write(fd_.get(), line.data(), line.size());
  if (written == static_cast<ssize_t>(line.size())) {
    ++in_file_;
    return;
  }
  trouble_ = fmt::format("{}: {}", file_.string(), std::strerror(written < 0 ? errno : ENOSPC));
}

std::vector<Decision> DecisionLog::recent(std::size_t most) const {
  const auto skipped = static_cast<std::ptrdiff_t>(lines_.size() - std::min(most, lines_.size()));
  return {lines_.begin() + skipped, lines_.end()};
}

std::filesystem::path DecisionLog::older() const {
  return file_.string() + ".1";
}

void DecisionLog::read(const std::filesystem::path& file) {
  const auto text = read_file(file, file_bytes_max);
  if (!text) {
    if (text.error() != std::errc::no_such_file_or_directory)
      trouble_ = fmt::format("{}: {}", file.string(), text.error().message());
    return;
  }
  for (std::size_t at = 0; at < text->size();) {
    const std::size_t end = std::min(text->find('\n', at), text->size());
    const json parsed = json::parse(text->begin() + static_cast<std::ptrdiff_t>(at),
                                    text->begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    at = end + 1;
    if (!parsed.is_object()) continue;
    try {
      lines_.push_back(decision_from_json(parsed));
    } catch (const json::exception&) {  // another program's line: passed over as a torn one
      continue;
    }
  }
}

void DecisionLog::open() {
  std::error_code error;
  std::filesystem::create_directories(file_.parent_path(), error);
  fd_ = UniqueFd(::open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!fd_) {
    trouble_ = fmt::format("{}: {}", file_.string(), std::strerror(errno));
    return;
  }
  // The next line does not stand behind a torn one. An empty line is passed over.
  if (::lseek(fd_.get(), 0, SEEK_END) > 0 && ::write(fd_.get(), "\n", 1) != 1)
    trouble_ = fmt::format("{}: {}", file_.string(), std::strerror(errno));
}

void DecisionLog::rotate() {
  std::error_code error;
  std::filesystem::rename(file_, older(), error);
  if (error) trouble_ = fmt::format("{}: {}", file_.string(), error.message());
  in_file_ = 0;
  open();
}

}  // namespace mpath::target::cluster
