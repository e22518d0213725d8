#include "base/settings.hpp"

#include <fmt/format.h>
#include <regex.h>

#include <algorithm>
#include <numeric>

#include "base/check.hpp"

namespace mpath {
namespace {

using Severity = ConfigProblem::Severity;

bool is_listed(std::string_view words, std::string_view value) {
  while (!words.empty()) {
    const std::size_t end = std::min(words.find('|'), words.size());
    if (words.substr(0, end) == value) return true;
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return false;
}

std::string spoken(std::string_view words) {
  std::string text(words);
  std::size_t at = 0;
  while ((at = text.find('|', at)) != std::string::npos) text.replace(at, 1, ", ");
  return text;
}

std::chrono::milliseconds bare_duration(const Setting& setting) {
  if (setting.unit.empty()) return std::chrono::seconds(1);
  const auto unit = parse_duration("1" + std::string(setting.unit));
  CHECK(unit.has_value());
  return *unit;
}

std::uint64_t bare_size(const Setting& setting) {
  if (setting.unit.empty()) return 1;
  const auto unit = parse_size("1" + std::string(setting.unit));
  CHECK(unit.has_value());
  return *unit;
}

std::optional<std::string> outside(const Setting& setting, std::int64_t value, std::string_view shown, const auto& format) {
  if (value >= setting.least && value <= setting.most) return std::nullopt;
  const bool no_end = setting.most == std::numeric_limits<std::int64_t>::max();
  if (no_end) return fmt::format("{} is less than {}", shown, format(setting.least));
  if (value > setting.most) return fmt::format("{} is more than {}", shown, format(setting.most));
  return fmt::format("{} is outside {}..{}", shown, format(setting.least), format(setting.most));
}

std::optional<std::string> check_regex(std::string_view text) {
  if (text.starts_with('!')) text.remove_prefix(1);
  regex_t compiled;
  const int error = ::regcomp(&compiled, std::string(text).c_str(), REG_EXTENDED | REG_NOSUB);
  if (error == 0) {
    ::regfree(&compiled);
    return std::nullopt;
  }
  char why[128];
  ::regerror(error, &compiled, why, sizeof why);
  return fmt::format("\"{}\" is not a regular expression: {}", text, why);
}

// How many letters differ (insertions, deletions, changes).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t above = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, above + 1, diagonal + (a[i] == b[j] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row.back();
}

std::string unknown_key(std::span<const Setting> rows, std::string_view section, std::string_view key) {
  const Setting* nearest = nullptr;
  std::size_t nearest_distance = std::min<std::size_t>(4, 1 + key.size() / 3);
  for (const Setting& setting : rows) {
    if (setting.section != section || setting.key.size() > key.size() + 3 || key.size() > setting.key.size() + 3) continue;
    const std::size_t letters = distance(setting.key, key);
    if (letters >= nearest_distance) continue;
    nearest = &setting;
    nearest_distance = letters;
  }
  const std::string where = section.empty() ? "" : fmt::format(" in section \"{}\"", section);
  if (nearest == nullptr) return fmt::format("unknown setting \"{}\"{}", key, where);
  return fmt::format("unknown setting \"{}\"{}: did you mean \"{}\"?", key, where, nearest->key);
}

}  // namespace

std::optional<std::string> check_setting(const Setting& setting, std::string_view value) {
  if (is_listed(setting.words, value)) return std::nullopt;
  std::optional<std::string> why;
  switch (setting.type) {
    case SettingType::text:
    case SettingType::ignored: break;
    case SettingType::word: return fmt::format("\"{}\" is not one of {}", value, spoken(setting.words));
    case SettingType::integer: {
      const auto number = parse_integer(value);
      if (!number) {
        why = number.error();
      } else {
        why = outside(setting, *number, value, [](std::int64_t each) { return std::to_string(each); });
      }
      break;
    }
    case SettingType::size: {
      const auto bytes = parse_size(value, bare_size(setting));
      if (!bytes) {
        why = bytes.error();
      } else {
        why = outside(setting, static_cast<std::int64_t>(*bytes), value,
                      [](std::int64_t each) { return format_size(static_cast<std::uint64_t>(std::max<std::int64_t>(each, 0))); });
      }
      break;
    }
    case SettingType::duration: {
      const auto time = parse_duration(value, bare_duration(setting));
      if (!time) {
        why = time.error();
      } else {
        why = outside(setting, time->count(), value, [](std::int64_t each) {
          return format_duration(std::chrono::milliseconds(std::max<std::int64_t>(each, 0)));
        });
      }
      break;
    }
    case SettingType::yes_no: {
      const auto flag = parse_yes_no(value);
      if (!flag) why = flag.error();
      break;
    }
    case SettingType::regex: why = check_regex(value); break;
  }
  if (why && !setting.words.empty()) *why += fmt::format(" (or {})", spoken(setting.words));
  return why;
}

SettingsTable::SettingsTable(std::span<const Setting> rows) : rows_(rows) {
  for (const Setting& setting : rows_) {
    CHECK(find(setting.section, setting.key) == &setting);
    CHECK(setting.fallback.empty() || !check_setting(setting, setting.fallback));
  }
}

const Setting* SettingsTable::find(std::string_view section, std::string_view key) const {
  for (const Setting& setting : rows_) {
    if (setting.section == section && setting.key == key) return &setting;
  }
  return nullptr;
}

bool SettingsTable::has_section(std::string_view section) const {
  return std::any_of(rows_.begin(), rows_.end(), [section](const Setting& setting) {
    if (!setting.section.starts_with(section)) return false;
    return setting.section.size() == section.size() || section.empty() || setting.section[section.size()] == '.';
  });
}

ConfigProblems SettingsTable::validate(const ConfigSection& root) const {
  ConfigProblems problems;
  validate(root, "", problems);
  return problems;
}

void SettingsTable::validate(const ConfigSection& section, const std::string& path, ConfigProblems& problems) const {
  for (const ConfigEntry& entry : section.entries) {
    const Setting* setting = find(path, entry.key);
    if (setting == nullptr) {
      problems.push_back({Severity::error, entry.origin, unknown_key(rows_, path, entry.key)});
    } else if (setting->type == SettingType::ignored) {
      problems.push_back({Severity::warning, entry.origin, fmt::format("\"{}\" has no effect here", entry.key)});
    } else if (const auto why = check_setting(*setting, entry.value)) {
      const std::string shown = setting->secret ? "the value is not allowed" : *why;
      problems.push_back({Severity::error, entry.origin, fmt::format("{}: {}", entry.key, shown)});
    }
  }
  for (const ConfigSection& below : section.sections) {
    const std::string name = path.empty() ? below.name : path + "." + below.name;
    if (has_section(name)) {
      validate(below, name, problems);
    } else {
      problems.push_back({Severity::error, below.origin, fmt::format("unknown section \"{}\"", name)});
    }
  }
}

const Setting& SettingValues::row(std::string_view key) const {
  const Setting* setting = table_->find(section_, key);
  CHECK(setting != nullptr);
  return *setting;
}

void SettingValues::apply(const ConfigSection& section) {
  for (const ConfigEntry& entry : section.entries) {
    const Setting* setting = table_->find(section_, entry.key);
    if (setting == nullptr || setting->type == SettingType::ignored) continue;
    Value& value = values_[entry.key];
    if (!setting->repeatable) value.texts.clear();
    value.texts.push_back(entry.value);
    value.origin = entry.origin;
  }
}

std::optional<std::string> SettingValues::set(std::string_view key, std::string_view value, const Origin& origin) {
  const Setting* setting = table_->find(section_, key);
  if (setting == nullptr) return unknown_key(table_->rows(), section_, key);
  if (auto why = check_setting(*setting, value)) return why;
  Value& stored = values_[std::string(key)];
  if (!setting->repeatable) stored.texts.clear();
  stored.texts.emplace_back(value);
  stored.origin = origin;
  return std::nullopt;
}

bool SettingValues::is_set(std::string_view key) const {
  static_cast<void>(row(key));
  return values_.contains(key);
}

Origin SettingValues::origin(std::string_view key) const {
  const auto value = values_.find(key);
  return value == values_.end() ? Origin{} : value->second.origin;
}

std::string SettingValues::text(std::string_view key) const {
  const Setting& setting = row(key);
  const auto value = values_.find(key);
  return value == values_.end() ? std::string(setting.fallback) : value->second.texts.back();
}

std::vector<std::string> SettingValues::all(std::string_view key) const {
  const Setting& setting = row(key);
  const auto value = values_.find(key);
  if (value != values_.end()) return value->second.texts;
  if (setting.fallback.empty()) return {};
  return {std::string(setting.fallback)};
}

bool SettingValues::is_word(std::string_view key) const { return is_listed(row(key).words, text(key)); }

std::int64_t SettingValues::integer(std::string_view key) const {
  CHECK(row(key).type == SettingType::integer);
  const auto value = parse_integer(text(key));
  CHECK(value.has_value());
  return *value;
}

std::uint64_t SettingValues::size(std::string_view key) const {
  CHECK(row(key).type == SettingType::size);
  const auto value = parse_size(text(key), bare_size(row(key)));
  CHECK(value.has_value());
  return *value;
}

std::chrono::milliseconds SettingValues::duration(std::string_view key) const {
  CHECK(row(key).type == SettingType::duration);
  const auto value = parse_duration(text(key), bare_duration(row(key)));
  CHECK(value.has_value());
  return *value;
}

bool SettingValues::yes_no(std::string_view key) const {
  CHECK(row(key).type == SettingType::yes_no);
  const auto value = parse_yes_no(text(key));
  CHECK(value.has_value());
  return *value;
}

std::vector<SettingValues::Row> SettingValues::rows() const {
  std::vector<Row> shown;
  for (const Setting& setting : table_->rows()) {
    if (setting.section != section_ || setting.type == SettingType::ignored) continue;
    for (const std::string& value : all(setting.key)) {
      shown.push_back({std::string(setting.key), setting.secret ? "********" : value, origin(setting.key).text()});
    }
  }
  return shown;
}

}  // namespace mpath
