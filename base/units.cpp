#include "base/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

namespace mpath {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t factor;
};

constexpr std::array<Unit, 7> time_units = {{{"us", 1},
                                             {"ms", 1'000},
                                             {"s", 1'000'000},
                                             {"m", 60'000'000},
                                             {"min", 60'000'000},
                                             {"h", 3'600'000'000},
                                             {"d", 86'400'000'000}}};
constexpr std::string_view size_letters = "kmgtp";

char lower(char letter) { return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter; }

std::string lower(std::string_view text) {
  std::string result;
  for (const char letter : text) result.push_back(lower(letter));
  return result;
}

template <typename T>
Parsed<T> wrong(std::string_view text, std::string_view what) {
  return std::unexpected(fmt::format("\"{}\" is not {}", text, what));
}

// whole * factor plus the decimals after a point, exactly; nothing when it overflows or does not come out even.
std::optional<std::int64_t> scale(std::string_view number, std::int64_t factor) {
  const std::size_t point = number.find('.');
  const std::string_view whole_text = number.substr(0, point);
  std::int64_t whole = 0;
  const auto [end, error] = std::from_chars(whole_text.data(), whole_text.data() + whole_text.size(), whole);
  if (error != std::errc{} || end != whole_text.data() + whole_text.size()) return std::nullopt;
  std::int64_t value = 0;
  if (__builtin_mul_overflow(whole, factor, &value)) return std::nullopt;
  if (point == std::string_view::npos) return value;
  const std::string_view decimals = number.substr(point + 1);
  std::int64_t numerator = 0;
  std::int64_t denominator = 1;
  for (const char digit : decimals) {
    if (__builtin_mul_overflow(denominator, std::int64_t{10}, &denominator)) return std::nullopt;
    numerator = numerator * 10 + (digit - '0');
  }
  std::int64_t product = 0;
  if (__builtin_mul_overflow(numerator, factor, &product) || product % denominator != 0) return std::nullopt;
  if (__builtin_add_overflow(value, product / denominator, &value)) return std::nullopt;
  return value;
}

// Splits "1.5s" into number and unit. No sign: none of these values is negative.
bool split(std::string_view text, std::string_view& number, std::string_view& unit) {
  const std::size_t end = std::min(text.find_first_not_of("0123456789."), text.size());
  number = text.substr(0, end);
  unit = text.substr(end);
  if (number.empty() || number.front() == '.' || number.back() == '.') return false;
  return std::count(number.begin(), number.end(), '.') <= 1;
}

}  // namespace

Parsed<std::int64_t> parse_integer(std::string_view text, std::int64_t least, std::int64_t most) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::invalid_argument || end != text.data() + text.size()) return wrong<std::int64_t>(text, "a number");
  if (error != std::errc{} || value < least || value > most) {
    return std::unexpected(fmt::format("{} is outside {}..{}", text, least, most));
  }
  return value;
}

Parsed<std::chrono::microseconds> parse_duration_us(std::string_view text, std::chrono::microseconds bare) {
  using std::chrono::microseconds;
  std::string_view number, name;
  if (!split(text, number, name)) return wrong<microseconds>(text, "a time like 15s or 500ms");
  std::int64_t factor = bare.count();
  if (!name.empty()) {
    const auto unit = std::find_if(time_units.begin(), time_units.end(), [name](const Unit& each) { return each.name == name; });
    if (unit == time_units.end()) {
      return std::unexpected(fmt::format("\"{}\" is not a unit of time: us, ms, s, m, h, d", name));
    }
    factor = unit->factor;
  }
  const auto value = scale(number, factor);
  if (!value) return wrong<microseconds>(text, "a time of whole microseconds below 292000 years");
  return microseconds(*value);
}

Parsed<std::chrono::milliseconds> parse_duration(std::string_view text, std::chrono::milliseconds bare) {
  const auto value = parse_duration_us(text, bare);
  if (!value) return std::unexpected(value.error());
  if (value->count() % 1000 != 0) return wrong<std::chrono::milliseconds>(text, "whole milliseconds");
  return std::chrono::milliseconds(value->count() / 1000);
}

Parsed<std::uint64_t> parse_size(std::string_view text, std::uint64_t bare) {
  std::string_view number, name;
  if (!split(text, number, name)) return wrong<std::uint64_t>(text, "a size like 64k or 1M");
  std::int64_t factor = static_cast<std::int64_t>(bare);
  std::string unit = lower(name);
  if (!unit.empty()) {
    factor = 1;
    const std::size_t power = size_letters.find(unit.front());
    if (power != std::string_view::npos) {
      factor = std::int64_t{1} << (10 * (power + 1));
      unit.erase(0, 1);
      if (unit.starts_with("ib")) unit.erase(0, 1);
    }
    if (!unit.empty() && unit != "b") {
      return std::unexpected(fmt::format("\"{}\" is not a unit of size: k, M, G, T, P", name));
    }
  }
  const auto value = scale(number, factor);
  if (!value) return wrong<std::uint64_t>(text, "a size of whole bytes below 8 EiB");
  return static_cast<std::uint64_t>(*value);
}

Parsed<bool> parse_yes_no(std::string_view text) {
  const std::string word = lower(text);
  if (word == "yes" || word == "on" || word == "true" || word == "1") return true;
  if (word == "no" || word == "off" || word == "false" || word == "0") return false;
  return wrong<bool>(text, "yes or no");
}

Parsed<double> parse_fraction(std::string_view text) {
  const bool percent = text.ends_with('%');
  const std::string_view number = percent ? text.substr(0, text.size() - 1) : text;
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc{} || end != number.data() + number.size() || !std::isfinite(value)) {
    return wrong<double>(text, "a fraction like 0.01 or 1%");
  }
  if (percent) value /= 100;
  if (value < 0 || value > 1) return std::unexpected(fmt::format("{} is outside 0..1", text));
  return value;
}

std::string format_duration(std::chrono::microseconds duration) {
  if (duration.count() == 0) return "0s";
  constexpr std::array<Unit, 6> largest_first = {
      {{"d", 86'400'000'000}, {"h", 3'600'000'000}, {"m", 60'000'000}, {"s", 1'000'000}, {"ms", 1'000}, {"us", 1}}};
  const auto unit = std::find_if(largest_first.begin(), largest_first.end(),
                                 [duration](const Unit& each) { return duration.count() % each.factor == 0; });
  return fmt::format("{}{}", duration.count() / unit->factor, unit->name);
}

std::string format_size(std::uint64_t bytes) {
  constexpr std::string_view letters = "kMGTP";
  std::size_t power = 0;
  while (bytes != 0 && bytes % 1024 == 0 && power < letters.size()) {
    bytes /= 1024;
    ++power;
  }
  return power == 0 ? fmt::format("{}", bytes) : fmt::format("{}{}", bytes, letters[power - 1]);
}

}  // namespace mpath
