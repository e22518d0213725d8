// Lines about events, for people and for the journal: one event, one line, `subject: verb key=value key=value`.
//
//   Log log(output, "path p3");
//   log.notice("down reason={} failures={}", quoted(text), failures);    ->  path p3: down reason="no answer" failures=3
//
// Levels:    error: someone must act. warning: degraded but handled. notice: a state changed. info, debug: for the curious.
// Threads:   any; a line reaches its sink in one piece. Logic never logs.
// Cost:      a line below the level costs one relaxed load; its arguments are not formatted.
// Ownership: a Log borrows its LogOutput, which borrows its sink.
#pragma once

#include <fmt/core.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mpath {

// The numbers are syslog's.
enum class LogLevel : std::uint8_t { error = 3, warning = 4, notice = 5, info = 6, debug = 7 };

[[nodiscard]] const char* level_name(LogLevel level);
// By name, by number, or "warn", "err".
[[nodiscard]] std::optional<LogLevel> parse_level(std::string_view text);

// A value that stays one word of a line: as it is when it has no blank, quote or control character, else in quotes.
[[nodiscard]] std::string quoted(std::string_view value);

class LogSink {
 public:
  virtual ~LogSink() = default;
  // `line` has no line end and no control characters. Called from any thread.
  virtual void write(LogLevel level, std::string_view line) noexcept = 0;
};

// Standard error: `<N>line` when that is the journal (JOURNAL_STREAM) or the kernel's log, else `date time level line`.
class StderrSink final : public LogSink {
 public:
  enum class Form : std::uint8_t { detect, journal, person };
  explicit StderrSink(Form form = Form::detect, int fd = 2);
  void write(LogLevel level, std::string_view line) noexcept override;

 private:
  int fd_;
  bool kernel_log_;
  bool journal_;
};

// Keeps the lines, for tests and for "what happened lately".
class MemorySink final : public LogSink {
 public:
  explicit MemorySink(std::size_t lines_max = 10000) : lines_max_(lines_max) {}
  void write(LogLevel level, std::string_view line) noexcept override;
  // `<level> line`, oldest first.
  [[nodiscard]] std::vector<std::string> lines() const;
  [[nodiscard]] bool contains(std::string_view text) const;

 private:
  std::size_t lines_max_;
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;  // guarded by mutex_
};

// A sink and the level from which lines reach it; the level may be changed at any time from any thread.
class LogOutput {
 public:
  explicit LogOutput(LogSink& sink, LogLevel level = LogLevel::notice) : sink_(sink), level_(level) {}
  [[nodiscard]] LogLevel level() const { return level_.load(std::memory_order_relaxed); }
  void set_level(LogLevel level) { level_.store(level, std::memory_order_relaxed); }
  [[nodiscard]] bool enabled(LogLevel level) const { return level <= this->level(); }
  void write(LogLevel level, std::string_view subject, fmt::string_view format, fmt::format_args args) const noexcept;

 private:
  LogSink& sink_;
  std::atomic<LogLevel> level_;
};

// What is passed down: an output and whom the lines are about. Cheap to copy.
class Log {
 public:
  explicit Log(const LogOutput& output, std::string subject = {}) : output_(&output), subject_(std::move(subject)) {}
  // The same output about something else.
  [[nodiscard]] Log about(std::string subject) const { return Log(*output_, std::move(subject)); }
  [[nodiscard]] bool enabled(LogLevel level) const { return output_->enabled(level); }
  [[nodiscard]] const std::string& subject() const { return subject_; }

  template <typename... Args>
  void error(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::error, format, args...);
  }
  template <typename... Args>
  void warning(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::warning, format, args...);
  }
  template <typename... Args>
  void notice(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::notice, format, args...);
  }
  template <typename... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::info, format, args...);
  }
  template <typename... Args>
  void debug(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::debug, format, args...);
  }
  // For levels that are known only when running.
  template <typename... Args>
  void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) const {
    write(level, format, args...);
  }

 private:
  template <typename... Args>
  void write(LogLevel level, fmt::string_view format, Args&... args) const {
    if (output_->enabled(level)) output_->write(level, subject_, format, fmt::make_format_args(args...));
  }

  const LogOutput* output_;
  std::string subject_;
};

}  // namespace mpath
