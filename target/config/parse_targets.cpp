// Section `target`: its units, portal groups, access rules, and what it wants negotiated.
#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "target/config/config_builder.hpp"

namespace mpath::target {
namespace {

constexpr std::uint64_t lun_max = 16383;

// "10.0.0.0/8", "fe80::/10", "10.1.2.3".
bool valid_prefix(const std::string& text) {
  const std::size_t slash = std::min(text.find('/'), text.size());
  const std::string address = text.substr(0, slash);
  unsigned char bytes[16];
  const bool v4 = ::inet_pton(AF_INET, address.c_str(), bytes) == 1;
  if (!v4 && ::inet_pton(AF_INET6, address.c_str(), bytes) != 1) return false;
  return slash == text.size() || parse_integer(std::string_view(text).substr(slash + 1), 0, v4 ? 32 : 128).has_value();
}

}  // namespace

void ConfigBuilder::build_target(const Item& item) {
  const SettingValues& values = values_of(item);
  TargetConfig target{.name = item.section.label, .origin = item.section.origin};
  target.managed = result_.objects[item.object].managed;
  if (!iscsi::valid_iscsi_name(target.name))
    complain(target.origin,
             fmt::format("\"{}\" is no iSCSI name: iqn.YYYY-MM.DOMAIN:NAME in lower case, eui. or naa.", target.name));
  target.alias = values.text("alias");
  for (const ConfigEntry& entry : item.section.entries) {
    if (entry.key == "lun") take_lun(entry, target);
    if (entry.key == "portal_group") {
      const auto tag = static_cast<std::uint16_t>(parse_integer(entry.value).value_or(0));
      if (std::ranges::find(target.portal_groups, tag) != target.portal_groups.end())
        complain(entry.origin, fmt::format("portal_group {} is there already", tag));
      target.portal_groups.push_back(tag);
      group_uses_.emplace_back(tag, entry.origin);
    }
    if (entry.key == "allow_address" && !valid_prefix(entry.value))
      complain(entry.origin, fmt::format("\"{}\" is no address and no prefix", entry.value));
  }
  target.access.initiators = values.all("allow_initiator");
  target.access.addresses = values.all("allow_address");
  build_authentication(item, target.authentication);
  build_wishes(values, target);
  if (values.is_set("redirect")) take_redirect(values, target);
  target.fingerprint = fingerprint(values);
  for (const Account& account : target.authentication.incoming)
    target.fingerprint += account.user + '\1' + account.secret + '\1';
  if (target.authentication.outgoing)
    target.fingerprint += '\2' + target.authentication.outgoing->user + '\1' + target.authentication.outgoing->secret;
  result_.config.targets.push_back(std::move(target));
}

void ConfigBuilder::take_lun(const ConfigEntry& entry, TargetConfig& target) {
  const auto number = entry.words.empty() ? Parsed<std::int64_t>(0) : parse_integer(entry.words[0], 0, lun_max);
  if (entry.words.size() != 2 || !number)
    return complain(entry.origin, fmt::format("lun takes a number up to {} and the name of a lu", lun_max));
  const auto lun = static_cast<std::uint64_t>(*number);
  if (target.luns.contains(lun)) return complain(entry.origin, fmt::format("LUN {} is there already", lun));
  const std::string& what = entry.words[1];
  if (what.find('=') == what.npos) {
    unit_uses_.emplace_back(what, entry.origin);
  } else if (!take_ietd_lun(entry, target.name, lun)) {
    return;
  }
  for (const auto& [other, name] : target.luns) {
    if (name == what) complain(entry.origin, fmt::format("lu {} is LUN {} of the same target already", what, other));
  }
  target.luns[lun] = what.find('=') == what.npos ? what : ietd_unit_name(target.name, lun);
}

void ConfigBuilder::take_redirect(const SettingValues& values, TargetConfig& target) {
  const std::string text = values.text("redirect");
  const std::size_t blank = std::min(text.find(' '), text.size());
  const std::string how = text.substr(0, blank);
  const auto address = iscsi::parse_target_address(text.substr(std::min(blank + 1, text.size())));
  if ((how != "temporary" && how != "permanent") || !address)
    return complain(values.origin("redirect"), "redirect takes temporary or permanent, and ADDRESS[:PORT][,TAG]");
  target.redirect = how == "permanent" ? Redirect::permanent : Redirect::temporary;
  target.redirect_to = *address;
}

void ConfigBuilder::build_wishes(const SettingValues& values, TargetConfig& target) {
  iscsi::Wishes& wishes = target.wishes;
  const auto number = [&](const char* key) { return static_cast<std::uint32_t>(values.integer(key)); };
  const auto bytes = [&](const char* key) { return static_cast<std::uint32_t>(values.size(key)); };
  const auto seconds = [&](const char* key) {
    return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(values.duration(key)).count());
  };
  wishes.header_digests = digests(values, "header_digest");
  wishes.data_digests = digests(values, "data_digest");
  wishes.receive_segment_max = bytes("max_recv_segment");
  wishes.max_connections = number("max_connections");
  wishes.initial_r2t = values.yes_no("initial_r2t");
  wishes.immediate_data = values.yes_no("immediate_data");
  wishes.max_burst = bytes("max_burst");
  wishes.first_burst = bytes("first_burst");
  if (wishes.first_burst > wishes.max_burst) {
    if (values.is_set("first_burst"))
      warn(values.origin("first_burst"), "first_burst is more than max_burst and is held to it");
    wishes.first_burst = wishes.max_burst;
  }
  wishes.time2wait = seconds("time2wait");
  wishes.time2retain = seconds("time2retain");
  wishes.max_outstanding_r2t = number("max_outstanding_r2t");
  wishes.error_recovery_level = number("error_recovery_level");
  target.window = number("queue_depth");
  target.sessions_max = number("sessions_max");
  target.nop_interval_ms = static_cast<std::uint32_t>(values.duration("nop_interval").count());
  target.nop_timeout_ms = static_cast<std::uint32_t>(values.duration("nop_timeout").count());
}

std::string ConfigBuilder::digests(const SettingValues& values, const char* key) {
  std::string text = values.text(key);
  const std::string list = text;
  for (const std::string_view word : iscsi::split_list(list)) {
    if (word != "None" && word != "CRC32C")
      complain(values.origin(key), fmt::format("{}: \"{}\" is none of None and CRC32C", key, word));
  }
  return text;
}

}  // namespace mpath::target
