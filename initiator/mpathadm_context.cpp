#include "initiator/mpathadm_context.hpp"

#include <fmt/format.h>

#include <ostream>

#include "db/settings.hpp"
#include "initiator/mpathadm_command.hpp"

namespace mpath::adm {

void Console::print(std::string_view text) {
  if (text.empty()) return;
  clear_progress();
  out_ << text << std::flush;
}

void Console::error(std::string_view line) {
  clear_progress();
  err_ << program_ << ": " << line << '\n' << std::flush;
}

void Console::report(ExitCode code) {
  error(fmt::format("initiator reported error ({} - {})", static_cast<int>(code), exit_text(code)));
}

void Console::progress(std::string_view line) {
  if (!terminal_) return;
  clear_progress();
  err_ << line << std::flush;
  in_progress_ = true;
}

void Console::clear_progress() {
  if (!in_progress_) return;
  err_ << "\r\033[K" << std::flush;
  in_progress_ = false;
}

Failure store_failure(const std::error_code& error, std::string_view what) {
  if (error.category() == db::store_category()) {
    switch (static_cast<db::StoreErrc>(error.value())) {
      case db::StoreErrc::unknown_key:
      case db::StoreErrc::bad_value: return {ExitCode::invalid_argument, fmt::format("{}: {}", what, error.message())};
      case db::StoreErrc::not_found:
      case db::StoreErrc::exists:
      case db::StoreErrc::read_only:
      case db::StoreErrc::damaged:
      case db::StoreErrc::newer_schema:
      case db::StoreErrc::busy: break;
    }
  }
  return {ExitCode::database_failure, fmt::format("{}: {}", what, error.message())};
}

ExitCode show_failure(Console& console, const Failure& failure) {
  console.error(failure.text.empty() ? exit_text(failure.code) : failure.text);
  if (failure.code != ExitCode::invalid_argument && failure.code != ExitCode::no_objects_found) console.report(failure.code);
  return failure.code;
}

Outcome<db::Settings> checked_settings(std::span<const Assignment> assignments) {
  db::Settings changes;
  for (const auto& [name, value] : assignments) {
    // Old tools called the transport a setting of the node.
    const std::string key = name == "node.transport_name" ? "iface.transport_name" : name;
    const db::Setting* setting = db::find_setting(key);
    if (setting == nullptr) {
      return std::unexpected(Failure{ExitCode::invalid_argument, fmt::format("Cannot modify {}. Invalid param name.", name)});
    }
    if (setting->use == db::SettingUse::identity) {
      return std::unexpected(
          Failure{ExitCode::invalid_argument, fmt::format("Cannot modify {}. It is used to look up the record and cannot be changed.", name)});
    }
    auto normal = db::normalise(*setting, value);
    if (!normal) {
      // A secret is not repeated.
      const std::string shown = db::is_secret(key) ? std::string() : fmt::format(" '{}'", value);
      return std::unexpected(
          Failure{ExitCode::invalid_argument, fmt::format("Invalid value{} for {}: it takes {}.", shown, name, db::expectation(*setting))});
    }
    changes[key] = std::move(*normal);
  }
  return changes;
}

}  // namespace mpath::adm
