#include "db/settings.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/units.hpp"
#include "db/store.hpp"

namespace mpath::db {
namespace {

using Index = std::unordered_map<std::string_view, const Setting*>;

Index make_index() {
  Index index;
  for (const auto table : {node_table(), sendtargets_table(), isns_table(), daemon_table()}) {
    for (const Setting& row : table) index.emplace(row.key, &row);
  }
  return index;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view blanks = " \t\r\n";
  const auto first = text.find_first_not_of(blanks);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == text.npos) return parts;
    text.remove_prefix(at + 1);
  }
}

// The spelling of the table for a word in any case; empty when it is none of them.
std::string_view known_word(std::string_view words, std::string_view value) {
  for (const std::string_view word : split(words, '|')) {
    if (lower(word) == lower(value)) return word;
  }
  return {};
}

// The number with the unit it may carry, before the range is looked at.
std::optional<std::int64_t> read_number(SettingType type, std::string_view value) {
  if (const auto plain = parse_integer(value)) return *plain;
  if (type == SettingType::bytes) {
    if (const auto size = parse_size(value); size && std::in_range<std::int64_t>(*size)) {
      return static_cast<std::int64_t>(*size);
    }
  }
  if (type == SettingType::seconds) {
    const auto duration = parse_duration(value);
    if (duration && duration->count() % 1000 == 0) return duration->count() / 1000;
  }
  return std::nullopt;
}

std::optional<std::int64_t> number_in(const Setting& setting, std::string_view value) {
  const auto number = read_number(setting.type, value);
  if (!number || *number < setting.min || *number > setting.max) return std::nullopt;
  return number;
}

bool is_plain(std::string_view text) {
  return std::ranges::none_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

bool is_mac(std::string_view text) {
  if (text.size() != 17) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    if (i % 3 == 2 ? c != ':' : !hex) return false;
  }
  return true;
}

bool is_netdev(std::string_view text) {
  return text.size() <= 15 && text != "." && text != ".." &&
         std::ranges::none_of(text, [](char c) { return c == '/' || c == ':' || c == ' '; });
}

std::optional<std::string> numeric_address(std::string_view text) {
  const std::string address(text);
  std::array<unsigned char, sizeof(in6_addr)> raw{};
  std::array<char, INET6_ADDRSTRLEN> out{};
  for (const int family : {AF_INET, AF_INET6}) {
    if (inet_pton(family, address.c_str(), raw.data()) == 1) {
      return std::string(inet_ntop(family, raw.data(), out.data(), out.size()));
    }
  }
  return std::nullopt;
}

Result<std::string> normalise_list(const Setting& setting, std::string_view value) {
  std::vector<std::string_view> chosen;
  for (const std::string_view part : split(value, ',')) {
    const std::string_view word = known_word(setting.words, trim(part));
    if (word.empty() || std::ranges::find(chosen, word) != chosen.end()) return failure(StoreErrc::bad_value);
    chosen.push_back(word);
  }
  return fmt::format("{}", fmt::join(chosen, ","));
}

std::int64_t number_of(const Settings& settings, const char* key) {
  std::int64_t number = 0;
  if (const auto found = settings.find(key); found != settings.end()) {
    std::from_chars(found->second.data(), found->second.data() + found->second.size(), number);
  }
  return number;
}

std::string dump_rows(std::span<const Setting> table, const Settings& settings, const DumpStyle& style) {
  std::string out = fmt::format("# BEGIN RECORD {}\n", style.version);
  for (const Setting& row : table) {
    const auto found = settings.find(std::string(row.key));
    const std::string_view value = found == settings.end() ? row.fallback : std::string_view(found->second);
    const bool mask = row.type == SettingType::secret && !style.show_secrets;
    fmt::format_to(std::back_inserter(out), "{} = {}\n", row.key,
                   value.empty() ? "<empty>"
                   : mask        ? "********"
                                 : value);
  }
  return out += "# END RECORD\n";
}

}  // namespace

const Setting* find_setting(std::string_view key) {
  static const Index index = make_index();
  const auto found = index.find(key);
  return found == index.end() ? nullptr : found->second;
}

Result<std::string> normalise(const Setting& setting, std::string_view raw) {
  const std::string_view value = setting.type == SettingType::secret ? raw : trim(raw);
  if (!is_plain(value)) return failure(StoreErrc::bad_value);
  if (value.empty()) {
    if (!setting.fallback.empty()) return failure(StoreErrc::bad_value);
    return std::string();
  }
  switch (setting.type) {
    case SettingType::flag: {
      const std::string word = lower(value);
      if (word == "yes" || word == "no") return std::string(word == "yes" ? "Yes" : "No");
      return failure(StoreErrc::bad_value);
    }
    case SettingType::number:
    case SettingType::bytes:
    case SettingType::seconds:
    case SettingType::power2: {
      const auto number = number_in(setting, value);
      if (!number) return failure(StoreErrc::bad_value);
      if (setting.type == SettingType::power2 && (*number & (*number - 1)) != 0) return failure(StoreErrc::bad_value);
      return std::to_string(*number);
    }
    case SettingType::word: {
      const std::string_view word = known_word(setting.words, value);
      if (word.empty()) return failure(StoreErrc::bad_value);
      return std::string(word);
    }
    case SettingType::list:
      return normalise_list(setting, value);
    case SettingType::text:
    case SettingType::secret:
      if (value.size() > static_cast<std::size_t>(setting.max)) return failure(StoreErrc::bad_value);
      return std::string(value);
    case SettingType::mac: {
      std::string mac = lower(value);
      if (!is_mac(mac)) return failure(StoreErrc::bad_value);
      return mac;
    }
    case SettingType::ip: {
      auto address = numeric_address(value);
      if (!address) return failure(StoreErrc::bad_value);
      return *std::move(address);
    }
    case SettingType::netdev:
      if (!is_netdev(value)) return failure(StoreErrc::bad_value);
      return std::string(value);
  }
  return failure(StoreErrc::bad_value);
}

Result<std::string> validate(std::string_view key, std::string_view value) {
  const Setting* setting = find_setting(key);
  if (setting == nullptr || setting->use == SettingUse::identity) return failure(StoreErrc::unknown_key);
  return normalise(*setting, value);
}

std::string expectation(const Setting& setting) {
  const auto range = [&setting] { return fmt::format("from {} to {}", setting.min, setting.max); };
  const auto words = [&setting] { return fmt::format("{}", fmt::join(split(setting.words, '|'), ", ")); };
  switch (setting.type) {
    case SettingType::flag:
      return "Yes or No";
    case SettingType::number:
      return "a number " + range();
    case SettingType::bytes:
      return "a number of bytes (64k, 1m) " + range();
    case SettingType::seconds:
      return "a number of seconds (15s, 2m) " + range();
    case SettingType::power2:
      return "a number " + range() + " that is a power of two";
    case SettingType::word:
      return "one of " + words();
    case SettingType::list:
      return "a comma-separated list of " + words();
    case SettingType::text:
    case SettingType::secret:
      return fmt::format("text of at most {} bytes", setting.max);
    case SettingType::mac:
      return "a MAC address (aa:bb:cc:dd:ee:ff)";
    case SettingType::ip:
      return "a numeric IPv4 or IPv6 address";
    case SettingType::netdev:
      return "the name of a network device, at most 15 bytes";
  }
  return {};
}

bool is_secret(std::string_view key) {
  const Setting* setting = find_setting(key);
  return setting != nullptr && setting->type == SettingType::secret;
}

Settings compiled_defaults(std::span<const Setting> table) {
  Settings settings;
  for (const Setting& row : table) settings.emplace(row.key, row.fallback);
  return settings;
}

Settings defaults(std::span<const Setting> table, const Settings& conf) {
  Settings settings = compiled_defaults(table);
  for (const Setting& row : table) {
    if (row.use == SettingUse::identity) continue;
    const auto found = conf.find(std::string(row.key));
    if (found != conf.end()) settings[found->first] = found->second;
  }
  return settings;
}

std::vector<std::string> make_consistent(Settings& node) {
  constexpr const char* first_burst = "node.session.iscsi.FirstBurstLength";
  constexpr const char* max_burst = "node.session.iscsi.MaxBurstLength";
  constexpr std::array noop = {"node.conn[0].timeo.noop_out_interval", "node.conn[0].timeo.noop_out_timeout"};
  std::vector<std::string> changes;
  if (number_of(node, first_burst) > number_of(node, max_burst)) {
    changes.push_back(fmt::format("{} lowered from {} to {}, the value of {}", first_burst, node[first_burst],
                                  node[max_burst], max_burst));
    node[first_burst] = node[max_burst];
  }
  const bool first_off = number_of(node, noop[0]) == 0;
  const bool second_off = number_of(node, noop[1]) == 0;
  if (first_off != second_off) {
    const char* key = first_off ? noop[0] : noop[1];
    node[key] = find_setting(key)->fallback;
    changes.push_back(fmt::format("{} taken as {}: only both zero turn pings off", key, node[key]));
  }
  return changes;
}

std::string canonical_address(std::string_view address) {
  if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
  if (auto numeric = numeric_address(address)) return *std::move(numeric);
  return lower(address);
}

std::string dump(const NodeRecord& record, const DumpStyle& style) {
  return dump_rows(node_table(), record.settings, style);
}
std::string dump(const DiscoveryRecord& record, const DumpStyle& style) {
  return dump_rows(discovery_table(record.key.type), record.settings, style);
}
std::string dump(const IfaceRecord& record, const DumpStyle& style) {
  return dump_rows(iface_table(), record.settings, style);
}

}  // namespace mpath::db
