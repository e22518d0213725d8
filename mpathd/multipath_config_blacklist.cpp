#include "mpathd/multipath_config_blacklist.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace mpath {
namespace {

bool matches(const DeviceRule& rule, std::string_view vendor, std::string_view product) {
  return (!rule.vendor || rule.vendor->matches(vendor)) && (!rule.product || rule.product->matches(product));
}

const Pattern* first_match(const std::vector<Pattern>& rules, std::string_view subject) {
  const auto found = std::ranges::find_if(rules, [&](const Pattern& rule) { return rule.matches(subject); });
  return found == rules.end() ? nullptr : &*found;
}

std::string device_text(const DeviceRule& rule) {
  return fmt::format("{}:{}", rule.vendor ? rule.vendor->text() : ".*", rule.product ? rule.product->text() : ".*");
}

std::string report_rule(std::string_view rule) { return fmt::format("        (config file rule) {}\n", rule); }

template <typename Rules, typename Text>
std::string report_rules(const Rules& rules, Text text_of) {
  if (rules.empty()) return "        <empty>\n";
  std::string text;
  for (const auto& rule : rules) text += report_rule(text_of(rule));
  return text;
}

}  // namespace

std::expected<Pattern, std::string> Pattern::compile(std::string_view text) {
  Pattern pattern;
  pattern.text_ = text;
  pattern.inverted_ = text.starts_with('!');
  const std::string expression(pattern.inverted_ ? text.substr(1) : text);
  auto regex = std::make_unique<regex_t>();
  if (const int error = ::regcomp(regex.get(), expression.c_str(), REG_EXTENDED | REG_NOSUB); error != 0) {
    std::array<char, 128> reason{};
    ::regerror(error, regex.get(), reason.data(), reason.size());
    return std::unexpected(fmt::format("bad regular expression '{}': {}", text, reason.data()));
  }
  pattern.regex_ = std::shared_ptr<const regex_t>(regex.release(), [](const regex_t* compiled) {
    auto* own = const_cast<regex_t*>(compiled);
    ::regfree(own);
    delete own;
  });
  return pattern;
}

bool Pattern::matches(std::string_view subject) const {
  const bool found = ::regexec(regex_.get(), std::string(subject).c_str(), 0, nullptr, 0) == 0;
  return found != inverted_;
}

BlacklistVerdict filter(const Blacklist& blacklist, const Blacklist& exceptions, std::string_view wwid,
                        std::string_view vendor, std::string_view product) {
  const auto same_device = [&](const DeviceRule& rule) { return matches(rule, vendor, product); };
  if (std::ranges::none_of(exceptions.device, same_device))
    if (const auto rule = std::ranges::find_if(blacklist.device, same_device); rule != blacklist.device.end())
      return {.blacklisted = true, .reason = fmt::format("device rule '{}'", device_text(*rule))};
  if (first_match(exceptions.protocol, our_protocol) == nullptr)
    if (const Pattern* rule = first_match(blacklist.protocol, our_protocol))
      return {.blacklisted = true, .reason = fmt::format("protocol rule '{}'", rule->text())};
  if (first_match(exceptions.wwid, wwid) == nullptr)
    if (const Pattern* rule = first_match(blacklist.wwid, wwid))
      return {.blacklisted = true, .reason = fmt::format("wwid rule '{}'", rule->text())};
  return {};
}

std::string blacklist_report(const Blacklist& blacklist, const Blacklist& exceptions) {
  const auto as_is = [](const std::string& text) -> std::string_view { return text; };
  const auto pattern = [](const Pattern& rule) -> std::string_view { return rule.text(); };
  std::string text;
  const auto both = [&](std::string_view title, const auto& rules, const auto& excepted, const auto& text_of) {
    text += fmt::format("{} rules:\n- blacklist:\n{}- exceptions:\n{}", title, report_rules(rules, text_of),
                        report_rules(excepted, text_of));
  };
  both("device node", blacklist.devnode, exceptions.devnode, as_is);
  both("udev property", blacklist.property, exceptions.property, as_is);
  both("protocol", blacklist.protocol, exceptions.protocol, pattern);
  both("wwid", blacklist.wwid, exceptions.wwid, pattern);
  both("device", blacklist.device, exceptions.device, device_text);
  return text;
}

}  // namespace mpath
