// Secrets of CHAP as administrators write them, and what makes them unfit.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/config_text.hpp"
#include "target/iscsi/target_view.hpp"

namespace mpath::target {

// The bytes of a secret: a text, or what 0x... and 0b... stand for. Refused with the reason when it is too short.
[[nodiscard]] std::expected<std::string, std::string> parse_secret(std::string_view text);

// What is wrong between the two directions, as RFC 7143 9.2.1 has it: equal secrets let an attacker reflect a
// challenge.
[[nodiscard]] std::optional<std::string> check_authentication(const Authentication& authentication);

// The first line of a file that nobody but its owner may read. The error names the file and says what to do.
[[nodiscard]] std::expected<std::string, std::string> read_secret_file(const std::string& path);
// Likewise every line that is not empty; refused when the file is longer than a secret can be.
[[nodiscard]] std::expected<std::vector<std::string>, std::string> read_secret_lines(const std::string& path);

}  // namespace mpath::target
