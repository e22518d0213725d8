// Values as people write them: 15s, 500ms, 64k, 1M, yes, and the bare numbers of the familiar files.
//
// Every parser takes the whole text (no blanks around it) and answers with the value, or one line that says what is wrong.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <limits>
#include <string>
#include <string_view>

namespace mpath {

template <typename T>
using Parsed = std::expected<T, std::string>;

[[nodiscard]] Parsed<std::int64_t> parse_integer(std::string_view text,
                                                 std::int64_t least = std::numeric_limits<std::int64_t>::min(),
                                                 std::int64_t most = std::numeric_limits<std::int64_t>::max());

// us, ms, s, m (or min), h, d; a bare number counts in `bare`. Parts of a unit are written with a point: 1.5s.
[[nodiscard]] Parsed<std::chrono::microseconds> parse_duration_us(std::string_view text, std::chrono::microseconds bare);
// The same for whole milliseconds: finer values are refused.
[[nodiscard]] Parsed<std::chrono::milliseconds> parse_duration(std::string_view text,
                                                               std::chrono::milliseconds bare = std::chrono::seconds(1));

// k, M, G, T, P in either case, of 1024, with or without B or iB; a bare number counts in `bare` bytes.
[[nodiscard]] Parsed<std::uint64_t> parse_size(std::string_view text, std::uint64_t bare = 1);

// yes/no, on/off, true/false, 1/0, in any case.
[[nodiscard]] Parsed<bool> parse_yes_no(std::string_view text);

// A probability: 0.01, or 1%.
[[nodiscard]] Parsed<double> parse_fraction(std::string_view text);

// The shortest exact form: 15s, 500ms, 1h, 0s.
[[nodiscard]] std::string format_duration(std::chrono::microseconds duration);
// The shortest exact form: 64k, 1M, 1000.
[[nodiscard]] std::string format_size(std::uint64_t bytes);

}  // namespace mpath
