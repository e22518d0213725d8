// Block operations and statuses as words, for log lines, drills and tests.
#pragma once

#include <optional>
#include <string_view>

#include "base/block_device.hpp"

namespace mpath {

inline constexpr std::size_t block_op_count = 7;

[[nodiscard]] const char* block_op_name(BlockOp op);
[[nodiscard]] std::optional<BlockOp> parse_block_op(std::string_view name);
[[nodiscard]] const char* block_status_name(BlockStatus status);
[[nodiscard]] std::optional<BlockStatus> parse_block_status(std::string_view name);

}  // namespace mpath
