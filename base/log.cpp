#include "base/log.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <utility>

namespace mpath {
namespace {

constexpr std::array<std::pair<LogLevel, const char*>, 5> levels = {{{LogLevel::error, "error"},
                                                                     {LogLevel::warning, "warning"},
                                                                     {LogLevel::notice, "notice"},
                                                                     {LogLevel::info, "info"},
                                                                     {LogLevel::debug, "debug"}}};

bool is_control(char byte) { return static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f; }

// What is written there is a line of the kernel's log, which takes the same "<N>" as the journal.
bool is_the_kernel_log(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == ::makedev(1, 11);
}

bool is_the_journal(int fd) {
  const char* stream = std::getenv("JOURNAL_STREAM");
  if (stream == nullptr) return false;
  struct stat status {};
  if (::fstat(fd, &status) != 0) return false;
  return fmt::format("{}:{}", status.st_dev, status.st_ino) == stream;
}

// Wall-clock time, for display only.
void append_time(fmt::memory_buffer& line) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm local{};
  ::localtime_r(&now.tv_sec, &local);
  fmt::format_to(fmt::appender(line), "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03} ", local.tm_year + 1900, local.tm_mon + 1,
                 local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec, now.tv_nsec / 1'000'000);
}

void write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(fd, data, size);
    if (written < 0 && errno != EINTR) return;  // nowhere to complain
    if (written < 0) continue;
    data += written;
    size -= static_cast<std::size_t>(written);
  }
}

}  // namespace

const char* level_name(LogLevel level) {
  switch (level) {
    case LogLevel::error: return "error";
    case LogLevel::warning: return "warning";
    case LogLevel::notice: return "notice";
    case LogLevel::info: return "info";
    case LogLevel::debug: return "debug";
  }
  return "?";
}

std::optional<LogLevel> parse_level(std::string_view text) {
  if (text == "err") return LogLevel::error;
  if (text == "warn") return LogLevel::warning;
  for (const auto& [level, name] : levels) {
    if (text == name || text == fmt::format("{}", static_cast<unsigned>(level))) return level;
  }
  return std::nullopt;
}

std::string quoted(std::string_view value) {
  bool plain = !value.empty();
  for (const char byte : value) plain = plain && !is_control(byte) && byte != ' ' && byte != '"' && byte != '\\' && byte != '=';
  if (plain) return std::string(value);
  std::string text = "\"";
  for (const char byte : value) {
    if (byte == '"' || byte == '\\') {
      text.push_back('\\');
      text.push_back(byte);
    } else if (byte == '\n') {
      text += "\\n";
    } else if (byte == '\t') {
      text += "\\t";
    } else if (is_control(byte)) {
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    } else {
      text.push_back(byte);
    }
  }
  text.push_back('"');
  return text;
}

StderrSink::StderrSink(Form form, int fd)
    : fd_(fd),
      kernel_log_(is_the_kernel_log(fd)),
      journal_(form == Form::journal || (form == Form::detect && (is_the_journal(fd) || kernel_log_))) {}

void StderrSink::write(LogLevel level, std::string_view line) noexcept {
  fmt::memory_buffer whole;
  if (journal_) {
    fmt::format_to(fmt::appender(whole), "<{}>", static_cast<unsigned>(level));
    if (kernel_log_) fmt::format_to(fmt::appender(whole), "{}: ", program_invocation_short_name);
  } else {
    append_time(whole);
    fmt::format_to(fmt::appender(whole), "{:<7} ", level_name(level));
  }
  whole.append(line);
  whole.push_back('\n');
  write_all(fd_, whole.data(), whole.size());
}

void MemorySink::write(LogLevel level, std::string_view line) noexcept {
  const std::scoped_lock lock(mutex_);
  if (lines_.size() >= lines_max_) lines_.erase(lines_.begin());
  lines_.push_back(fmt::format("<{}> {}", level_name(level), line));
}

std::vector<std::string> MemorySink::lines() const {
  const std::scoped_lock lock(mutex_);
  return lines_;
}

bool MemorySink::contains(std::string_view text) const {
  const std::scoped_lock lock(mutex_);
  for (const std::string& line : lines_) {
    if (line.find(text) != std::string::npos) return true;
  }
  return false;
}

void LogOutput::write(LogLevel level, std::string_view subject, fmt::string_view format, fmt::format_args args) const noexcept {
  fmt::memory_buffer line;
  if (!subject.empty()) fmt::format_to(fmt::appender(line), "{}: ", subject);
  fmt::vformat_to(fmt::appender(line), format, args);
  // What a target or a file gave us must not make a second line out of one.
  for (char& byte : line) {
    if (is_control(byte)) byte = '?';
  }
  sink_.write(level, std::string_view(line.data(), line.size()));
}

}  // namespace mpath
