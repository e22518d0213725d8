// The name of this machine: the InitiatorName line of initiatorname.iscsi, made once when there is none.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace mpath {

// The first InitiatorName in the file's text, without blanks; empty when there is none. Pure.
[[nodiscard]] std::string parse_initiator_name(std::string_view text);

// True for what RFC 7143, 4.2.7 allows: iqn., eui. or naa., at most 223 bytes, no blanks or control characters.
[[nodiscard]] bool valid_initiator_name(std::string_view name);

// Reads it; when the file does not exist, makes a random name and writes the file first (whole, or not at all; two
// processes that try at once end with the same name). Fails with EINVAL when the file is there and names nothing valid.
[[nodiscard]] Result<std::string> load_initiator_name(const std::filesystem::path& file);

}  // namespace mpath
