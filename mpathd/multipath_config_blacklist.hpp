// Which logical units become maps: blacklist rules and the exceptions to them, POSIX extended regular expressions that
// match anywhere, as multipath-tools has them. A rule that starts with ! matches what the expression does not. Pure.
#pragma once

#include <regex.h>

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mpath {

class Pattern {
 public:
  // Fails with the reason of regcomp.
  [[nodiscard]] static std::expected<Pattern, std::string> compile(std::string_view text);
  [[nodiscard]] bool matches(std::string_view subject) const;
  [[nodiscard]] const std::string& text() const { return text_; }  // as written

 private:
  Pattern() = default;
  std::string text_;
  bool inverted_ = false;
  std::shared_ptr<const regex_t> regex_;
};

struct DeviceRule {
  std::optional<Pattern> vendor, product;  // what is missing matches all
};

struct Blacklist {
  std::vector<Pattern> wwid;
  std::vector<Pattern> protocol;   // ours are all scsi:iscsi
  std::vector<DeviceRule> device;
  std::vector<std::string> devnode;   // kept for show config: there are no device nodes to match
  std::vector<std::string> property;  // ... and no udev properties
};

inline constexpr std::string_view our_protocol = "scsi:iscsi";

struct BlacklistVerdict {
  bool blacklisted = false;
  std::string reason;  // "wwid rule '.*'"; empty when not blacklisted
};

// Kinds are tried in the order device, protocol, wwid; an exception wins over the rules of its own kind only.
[[nodiscard]] BlacklistVerdict filter(const Blacklist& blacklist, const Blacklist& exceptions, std::string_view wwid,
                                      std::string_view vendor, std::string_view product);

[[nodiscard]] std::string blacklist_report(const Blacklist& blacklist, const Blacklist& exceptions);  // show blacklist

}  // namespace mpath
